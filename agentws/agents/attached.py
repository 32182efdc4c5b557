"""The files of a conversation as content that a model reads."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from ..errors import AgentwsError
from ..protocol.messages import (
    AudioPart,
    ContentPart,
    DataSource,
    DocumentPart,
    ImagePart,
    Message,
    TextPart,
    UserMessage,
    VideoPart,
)

LARGEST: Final = 8 * 1024 * 1024
"""Bytes of a file that a model is given; a larger one is named. Providers refuse much larger ones
with the whole request."""

_PARTS: Final[dict[str, type[ImagePart | AudioPart | VideoPart]]] = {
    "image": ImagePart,
    "audio": AudioPart,
    "video": VideoPart,
}


class AttachedFile(Protocol):
    """A file that came with a message. ``size`` is in bytes, ``type`` a media type."""

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> str: ...

    @property
    def size(self) -> int: ...

    async def read(self, *, limit: int) -> bytes:
        """The whole content; raises an AgentwsError if it has more than ``limit`` bytes."""


class AttachedFiles:
    """The messages of a conversation with their files as content. Each file is read once.

    ``files_of`` returns the files of a message. A file that is too large, or that can't be read any
    more, is named in text, so that the model knows of it.
    """

    def __init__(self, files_of: Callable[[UserMessage], Sequence[AttachedFile]]) -> None:
        self._files_of = files_of
        self._read: dict[str, Sequence[ContentPart]] = {}

    async def shown(self, messages: Sequence[Message]) -> list[Message]:
        """``messages`` as a model is given them."""
        return [await self._shown(message) for message in messages]

    async def _shown(self, message: Message) -> Message:
        files = self._files_of(message) if isinstance(message, UserMessage) else ()
        if not files or not isinstance(message, UserMessage):
            return message
        if message.id not in self._read:
            self._read[message.id] = [await _part(file) for file in files]
        said = message.content
        text = [TextPart(said)] if isinstance(said, str) and said else []
        before = said if isinstance(said, list) else text
        return msgspec.structs.replace(message, content=[*before, *self._read[message.id]])


async def _part(file: AttachedFile) -> ContentPart:
    if file.size > LARGEST:
        return TextPart(f"[{file.name} is attached, but too large to read.]")
    try:
        content = await file.read(limit=LARGEST)
    except AgentwsError:
        return TextPart(f"[{file.name} is attached, but can't be read.]")
    source = DataSource(b64encode(content).decode(), file.type)
    made: Any = _PARTS.get(file.type.partition("/")[0], DocumentPart)
    part: ContentPart = made(source, metadata={"filename": file.name})
    return part
