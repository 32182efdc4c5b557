"""Reading on in a log, a piece at a time.

A store counts in events, and a peer that does not read costs what was read for it. So how many are
read at once follows from how large the others are, and what is given is bounded in bytes.
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
    """The events of a session after a position; keeps nothing between one piece and the next."""

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
    """How many of ``records`` have ``room`` together; the first always does."""
    size = 0
    for count, record in enumerate(records):
        size += len(record.data)
        if size > room and count:
            return count
    return len(records)
