"""Reading a log in pieces of a bounded size.

A store's limit counts events, but a slow consumer costs memory for the bytes read for it. So the
limit of each read is estimated from the size of the events before it, and a piece is cut to size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..protocol.codec import Record
from ..protocol.position import Position
from ..protocol.sizes import MESSAGE
from ..sessions.session import Session

FEWEST: Final = 2
MOST: Final = 200
"""Events asked for at once."""


class Pieces:
    """Reads a session's events after a position; keeps no event from one piece to the next."""

    __slots__ = ("_count", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._count = _count(session.event_size)

    async def after(self, position: Position) -> Sequence[Record]:
        """The next events, together at most ``sizes.MESSAGE`` bytes unless the first is larger.

        Empty at the end of the log. Raises what reading raises.
        """
        records = await self._session.read(position, limit=self._count)
        if not records:
            return records
        size = sum(len(record.data) for record in records)
        self._count = _count(size // len(records))
        return records if size <= MESSAGE else records[: fitting(records, MESSAGE)]


def _count(event_size: int) -> int:
    """How many events of that size to ask for."""
    return min(max(MESSAGE // max(event_size, 1), FEWEST), MOST)


def fitting(records: Sequence[Record], room: int) -> int:
    """How many of ``records`` have together at most ``room`` bytes; at least one."""
    size = 0
    for count, record in enumerate(records):
        size += len(record.data)
        if size > room and count:
            return count
    return len(records)
