"""What an agent shows besides its text: its reasoning, its sources, and structured parts."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from ..errors import InvalidEvent
from ..protocol.events import ActivitySnapshot, ReasoningMessageChunk
from ..protocol.sources import SOURCE
from .output import RunOutput

MAX_URL: Final = 2048
"""The most characters of a URL that is cited."""
MAX_TITLE: Final = 300
MAX_EXCERPT: Final = 2000
"""Characters to which the title and the excerpt of a source are cut."""
RESERVED: Final = "agentws."
"""Prefix of the kinds of activities that this library shows itself."""
_ELLIPSIS: Final = "\u2026"


class Shown:
    """What one run has shown. Message ids are derived from the run's, so they are unique."""

    __slots__ = ("_cited", "_name", "_parts")

    def __init__(self, run: str) -> None:
        self._name = run.removeprefix("run_")
        self._cited: dict[str, int] = {}
        self._parts = 0

    def cite(self, output: RunOutput, url: str, title: str | None, excerpt: str | None) -> int:
        known = self._cited.get(url)
        if known is not None:
            return known
        check_url(url)
        number = len(self._cited) + 1
        members = {
            "number": number,
            "url": url,
            "title": _cut(title, MAX_TITLE),
            "excerpt": _cut(excerpt, MAX_EXCERPT),
        }
        content = {name: value for name, value in members.items() if value}
        output.write(ActivitySnapshot(f"src_{self._name}_{number}", SOURCE, content))
        self._cited[url] = number
        return number

    def show(self, output: RunOutput, kind: str, content: dict[str, Any], id: str | None) -> str:
        if not isinstance(kind, str) or not kind or kind.startswith(RESERVED):
            raise InvalidEvent(
                f"{kind!r} is no kind of part.",
                expected=f"a name that does not begin with {RESERVED}",
            )
        if id is None:
            self._parts += 1
            id = f"act_{self._name}_{self._parts}"
        output.write(ActivitySnapshot(id, kind, content))
        return id


def reason(output: RunOutput, text: str) -> None:
    if text:
        # Without an id: it continues the open reasoning, which text and tools close.
        output.write(ReasoningMessageChunk(delta=text))


def check_url(url: object) -> None:
    """Raises InvalidEvent unless ``url`` is one that clients may show as a link."""
    if not isinstance(url, str) or len(url) > MAX_URL or not _is_web_address(url):
        raise InvalidEvent(
            f"{str(url)[:80]!r} can't be cited.",
            expected=f"an http or https URL of at most {MAX_URL} characters",
        )


def _is_web_address(url: str) -> bool:
    # urlsplit drops line breaks and tabs without a word.
    if not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _cut(text: str | None, most: int) -> str | None:
    return text if text is None or len(text) <= most else text[: most - 1] + _ELLIPSIS
