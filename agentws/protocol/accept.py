"""Content negotiation: which media type an ``Accept`` header prefers (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

_QUALITY: Final = re.compile(r"\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*", re.ASCII)


class _Range(NamedTuple):
    """One entry of the header: a media type, ``type/*`` or ``*/*``, and its q-value."""

    pattern: str
    quality: float

    def exactness(self, media_type: str) -> int:
        """How exactly it names ``media_type``, from 1 to 3; 0 if it does not match."""
        group = media_type.partition("/")[0]
        return {"*/*": 1, f"{group}/*": 2, media_type: 3}.get(self.pattern, 0)


def preferred(accept: str, offered: Sequence[str]) -> str:
    """The media type of ``offered`` that the header prefers; the first if it accepts none.

    Of equal q-values the type that is named more exactly has precedence, then the one named first.
    """
    ranges = [_range(part) for part in accept.split(",")]
    return max(offered, key=lambda one: _preference(ranges, one))


def _range(text: str) -> _Range:
    pattern, *parameters = text.split(";")
    found = [match[1] for one in parameters if (match := _QUALITY.fullmatch(one.lower()))]
    return _Range(pattern.strip().lower(), float(found[0]) if found else 1.0)


def _preference(ranges: Sequence[_Range], media_type: str) -> tuple[float, int, int]:
    exactness, at = max((one.exactness(media_type), -at) for at, one in enumerate(ranges))
    quality = ranges[-at].quality
    return (quality, exactness, at) if exactness and quality else (0.0, 0, 0)
