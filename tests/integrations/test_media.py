"""Images, documents and sound of a message, in the form of each provider."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from agentws.integrations import anthropic_prompt, openai_prompt
from agentws.protocol import messages as m

from .wires import HELLO

PNG = b64encode(b"\x89PNG...").decode()
PDF = b64encode(b"%PDF-1.7").decode()
CSV = b64encode(b"a,b\n1,2\n").decode()
SOUND = b64encode(b"RIFF").decode()


def data(value: str, mime: str) -> m.DataSource:
    return m.DataSource(value, mime)


IMAGE = m.ImagePart(data(PNG, "image/png"))
PAPER = m.DocumentPart(data(PDF, "application/pdf"), metadata={"filename": "paper.pdf"})
TABLE = m.DocumentPart(data(CSV, "text/csv"), metadata={"filename": "table.csv"})
MEDIA: dict[str, tuple[m.ContentPart, dict[str, Any], dict[str, Any]]] = {
    "an image": (
        IMAGE,
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": PNG},
        },
    ),
    "an image as a data URL": (
        m.ImagePart(m.UrlSource(f"data:image/png;base64,{PNG}")),
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": PNG},
        },
    ),
    "a PDF": (
        PAPER,
        {
            "type": "file",
            "file": {"filename": "paper.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
        },
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
            "title": "paper.pdf",
        },
    ),
    "text": (
        TABLE,
        {"type": "text", "text": "table.csv:\na,b\n1,2\n"},
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "a,b\n1,2\n"},
            "title": "table.csv",
        },
    ),
    "a document at an address": (
        m.DocumentPart(m.UrlSource("https://example.com/a.pdf", "application/pdf")),
        {"type": "text", "text": "[document attached]"},
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
    ),
    "sound": (
        m.AudioPart(data(SOUND, "audio/wav")),
        {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}},
        {"type": "text", "text": "[audio attached]"},
    ),
}
NAMED: dict[str, m.ContentPart] = {
    "an image that no provider takes": m.ImagePart(data(PNG, "image/svg+xml")),
    "no base64": m.ImagePart(data("not base64!", "image/png")),
    "an empty image": m.ImagePart(data("", "image/png")),
    "an address that is no web page": m.ImagePart(m.UrlSource("file:///etc/passwd")),
    "a file of a provider": m.ImagePart(m.FileSource("file_1")),
}


@pytest.mark.parametrize(("part", "openai", "anthropic"), MEDIA.values(), ids=MEDIA)
def test_media_become_the_parts_of_each_provider(
    part: m.ContentPart, openai: dict[str, Any], anthropic: dict[str, Any]
) -> None:
    said: list[m.Message] = [m.UserMessage("1", [m.TextPart("Look:"), IMAGE, part])]
    look = {"type": "text", "text": "Look:"}
    image_openai, image_anthropic = MEDIA["an image"][1:]
    assert openai_prompt.conversation(said, None)[0]["content"] == [look, image_openai, openai]
    assert anthropic_prompt.conversation(said)[0]["content"] == [look, image_anthropic, anthropic]


CONTENTS = {
    "image/png": b"\x89PNG\r\n\x1a\n...",
    "image/jpeg": b"\xff\xd8\xff\xe0...",
    "image/gif": b"GIF89a...",
    "image/webp": b"RIFF\x10\0\0\0WEBPVP8 ",
}


@pytest.mark.parametrize("declared", ["image/png", "image/jpg", "image/jpeg;charset=x", ""])
@pytest.mark.parametrize("mime", CONTENTS)
def test_the_type_of_an_image_is_that_of_its_content(mime: str, declared: str) -> None:
    value = b64encode(CONTENTS[mime]).decode()
    url = f"data:{mime};base64,{value}"
    for source in (data(value, declared), m.UrlSource(f"data:{declared};base64,{value}")):
        said: list[m.Message] = [m.UserMessage("1", [m.ImagePart(source)])]
        (image,) = openai_prompt.conversation(said, None)[0]["content"]
        assert image == {"type": "image_url", "image_url": {"url": url}}
        (image,) = anthropic_prompt.conversation(said)[0]["content"]
        assert image["source"] == {"type": "base64", "media_type": mime, "data": value}


@pytest.mark.parametrize("part", NAMED.values(), ids=NAMED)
def test_what_no_provider_takes_is_named(part: m.ContentPart) -> None:
    said: list[m.Message] = [m.UserMessage("1", [m.TextPart("Look:"), part])]
    named = "Look:\n[image attached]"
    assert openai_prompt.conversation(said, None)[0]["content"] == named
    assert anthropic_prompt.conversation(said)[0]["content"] == [{"type": "text", "text": named}]


def test_media_can_be_left_out_for_models_without_them() -> None:
    said: list[m.Message] = [m.UserMessage("1", [m.TextPart("Look:"), IMAGE])]
    named = "Look:\n[image attached]"
    assert openai_prompt.conversation(said, None, media=False)[0]["content"] == named
    (entry,) = anthropic_prompt.conversation(said, media=False)
    assert entry["content"] == [{"type": "text", "text": named}]


def test_an_image_in_a_result_is_given_to_anthropic() -> None:
    call = m.ToolCall("c1", m.FunctionCall("clock", "{}"))
    said = [*HELLO, m.AssistantMessage("a", None, [call]), m.ToolMessage("t", [IMAGE], "c1")]
    result = anthropic_prompt.conversation(said)[-1]["content"][0]
    assert result["content"] == [MEDIA["an image"][2]]
