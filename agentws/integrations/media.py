"""Images, documents and sound of a message, in the forms that providers take.

Content is given as it is in the message, or by its address: the provider fetches that, never this
process. What no provider takes is named in text, so that the model can say that it can't read it.
The type of an image is that of its content: providers refuse the request for one that is not as
declared, and with it every later one of the conversation.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from ..protocol.messages import (
    AudioPart,
    DataSource,
    DocumentPart,
    ImagePart,
    Media,
    UrlSource,
)

IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_BEGINNINGS: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}
SOUNDS: Final = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
PDF: Final = "application/pdf"
_TEXTS: Final = ("application/json", "application/xml", "application/yaml", "application/toml")
_WEB: Final = ("https://", "http://")

Kind = Literal["image", "pdf", "text", "sound"]


class ProviderMedia(NamedTuple):
    """One part of a message that a provider may take."""

    kind: Kind
    mime_type: str
    data: str = ""
    """Base64; of the kind ``text`` the text itself. Empty for content at ``url``."""
    url: str = ""
    name: str = ""

    @property
    def data_url(self) -> str:
        """The content as a ``data:`` URL, or its address."""
        return self.url or f"data:{self.mime_type};base64,{self.data}"


def provider_media(part: Media) -> ProviderMedia | None:
    """What a provider can be given of ``part``; ``None`` when it can only be named in text."""
    match part.source:
        case DataSource(value=value, mime_type=mime):
            return _of_data(part, mime.partition(";")[0].strip().lower(), value)
        case UrlSource(value=value) if value.startswith("data:"):
            mime, _, data = value.removeprefix("data:").partition(";base64,")
            return _of_data(part, mime.lower(), data)
        case UrlSource(value=value, mime_type=mime) if value.lower().startswith(_WEB):
            return _of_url(part, mime, value)
        case _:
            return None


def media_in_words(part: Media) -> str:
    """``part`` in words, for a model that can't be given it."""
    kind, name = part.__struct_config__.tag, _name(part)
    return f"[{kind} attached: {name}]" if name else f"[{kind} attached]"


def _of_data(part: Media, mime: str, value: str) -> ProviderMedia | None:
    if isinstance(part, ImagePart):
        mime = _image_type(value) or mime
    kind = _kind(part, mime)
    decoded = _decoded(value) if kind else None
    if kind is None or decoded is None:
        return None
    if kind == "text":
        return ProviderMedia(kind, mime, decoded.decode("utf-8", "replace"), name=_name(part))
    return ProviderMedia(kind, mime, value, name=_name(part))


def _of_url(part: Media, mime: str | None, url: str) -> ProviderMedia | None:
    match part:
        case ImagePart() if mime is None or mime in IMAGES:
            return ProviderMedia("image", mime or "", url=url, name=_name(part))
        case DocumentPart() if mime in (None, PDF):
            return ProviderMedia("pdf", PDF, url=url, name=_name(part))
        case _:
            return None


def _kind(part: Media, mime: str) -> Kind | None:
    match part:
        case ImagePart() if mime in IMAGES:
            return "image"
        case DocumentPart() if mime == PDF:
            return "pdf"
        case DocumentPart() if mime.startswith("text/") or mime in _TEXTS:
            return "text"
        case AudioPart() if mime in SOUNDS:
            return "sound"
        case _:
            return None


def _image_type(value: str) -> str | None:
    """The type that base64 of an image begins like; ``None`` for one that is not known here."""
    head = _decoded(value[:16]) or b""
    if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
        return "image/webp"
    return next((mime for begin, mime in _BEGINNINGS.items() if head.startswith(begin)), None)


def _decoded(value: str) -> bytes | None:
    """The bytes of base64; ``None`` for anything else, for which a provider refuses the request."""
    try:
        return base64.b64decode(value, validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _name(part: Media) -> str:
    """AG-UI has no member for a file's name; clients put it into the metadata."""
    metadata = part.metadata if isinstance(part.metadata, Mapping) else {}
    name = metadata.get("filename") or metadata.get("name")
    return name if isinstance(name, str) and name.isprintable() else ""
