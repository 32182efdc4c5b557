"""Timestamps in responses and on the simple wire."""

from __future__ import annotations

import datetime
from typing import Final

_EPOCH: Final = datetime.datetime.fromtimestamp(0, datetime.UTC)
_FIRST_MOMENT: Final = -62_135_596_800_000
_LAST_MOMENT: Final = 253_402_300_799_999


def iso_time(timestamp: int | None) -> str:
    """Milliseconds since the epoch, or now, as ISO 8601 in UTC; years from 1 to 9999."""
    if timestamp is None:
        moment = datetime.datetime.now(datetime.UTC)
    else:
        # An agent may set a timestamp in nanoseconds: this mistake must not end a connection.
        known = min(max(timestamp, _FIRST_MOMENT), _LAST_MOMENT)
        moment = _EPOCH + datetime.timedelta(milliseconds=known)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
