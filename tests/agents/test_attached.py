"""The files of a conversation as content for a model."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import pytest

from agentws.agents import attached
from agentws.agents.attached import AttachedFiles
from agentws.errors import NotFound
from agentws.protocol import messages as m


class File:
    """A file in memory; ``reads`` counts how often it was read."""

    def __init__(self, name: str, type: str, content: bytes | None) -> None:
        self.name, self.type, self.content = name, type, content
        self.size = len(content or b"")
        self.reads = 0

    async def read(self, *, limit: int) -> bytes:
        self.reads += 1
        if self.content is None:
            raise NotFound("There is no such file.")
        assert len(self.content) <= limit
        return self.content


def conversation(*files: File) -> tuple[AttachedFiles, list[m.Message]]:
    """A message with the files, and one without."""

    def files_of(message: m.UserMessage) -> Sequence[File]:
        return files if message.id == "1" else ()

    messages: list[m.Message] = [m.UserMessage("1", "Look:"), m.UserMessage("2", "And?")]
    return AttachedFiles(files_of), messages


@pytest.mark.parametrize(
    ("type", "part"),
    [
        ("image/png", m.ImagePart),
        ("audio/wav", m.AudioPart),
        ("video/mp4", m.VideoPart),
        ("application/pdf", m.DocumentPart),
        ("text/csv", m.DocumentPart),
    ],
)
async def test_a_file_becomes_the_part_of_its_type(type: str, part: type[m.Media]) -> None:
    files, messages = conversation(File("a file", type, b"content"))
    shown, other = await files.shown(messages)
    source = m.DataSource(b64encode(b"content").decode(), type)
    assert isinstance(shown, m.UserMessage)
    assert shown.content == [m.TextPart("Look:"), part(source, metadata={"filename": "a file"})]
    assert other is messages[1]


async def test_a_message_may_have_files_and_no_text_or_parts_of_its_own() -> None:
    files, _ = conversation(File("a.png", "image/png", b"x"))
    own: list[m.ContentPart] = [m.ImagePart(m.UrlSource("https://example.com/b.png"))]
    cases: list[tuple[m.Content, list[m.ContentPart]]] = [("", []), (own, own)]
    for content, before in cases:
        (shown,) = await files.shown([m.UserMessage("1", content)])
        assert isinstance(shown.content, list) and shown.content[:-1] == before


async def test_each_file_is_read_once() -> None:
    file = File("a.png", "image/png", b"x")
    files, messages = conversation(file)
    assert await files.shown(messages) == await files.shown(messages)
    assert file.reads == 1


async def test_a_file_that_can_not_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attached, "LARGEST", 3)
    large, gone = File("large.png", "image/png", b"xxxx"), File("gone.png", "image/png", None)
    files, messages = conversation(large, gone)
    (shown, _) = await files.shown(messages)
    assert isinstance(shown.content, list)
    assert shown.content[1:] == [
        m.TextPart("[large.png is attached, but too large to read.]"),
        m.TextPart("[gone.png is attached, but can't be read.]"),
    ]
    assert large.reads == 0
