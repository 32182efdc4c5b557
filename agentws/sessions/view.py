"""What of a log is in view: not what was cleared, nor what is on another branch."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final, NamedTuple

from ..protocol.codec import Record
from ..protocol.ranges import Ranges, before, holds
from ..store import PAGE, Store

AT_ONCE: Final = 256 * 1024
"""About the bytes of one read if events may be large: many clients may open a session at once."""
FEWEST: Final = 8
"""The fewest events of one read."""


class View(NamedTuple):
    """The events of a log that make up the conversation."""

    cleared: int = 0
    """Nothing at or before this seq is in view."""
    hidden: Ranges = ()
    """Nor is anything in these ranges."""

    def shows(self, seq: int) -> bool:
        return seq > self.cleared and not holds(self.hidden, seq)

    def end(self, seq: int) -> int:
        """The greatest seq up to this one that directly follows an event in view, if one is left.

        So a reader that goes backwards skips what is out of view without reading it.
        """
        return before(self.hidden, seq) if self.hidden else seq


WHOLE: Final = View()


async def backwards(
    store: Store, session: str, before: int, *, view: View, most: int = PAGE, event_size: int = 1
) -> AsyncGenerator[Record]:
    """The records in view before that seq, the newest first.

    At most ``most`` are read at one time: fewer if events are large. ``event_size`` is the expected
    size of an event in bytes.
    """
    limit = min(most, max(FEWEST, AT_ONCE // event_size))
    before = view.end(before)
    while before > view.cleared + 1:
        page = await store.read_back(session, before=before, limit=limit)
        for record in reversed(page):
            if record.seq <= view.cleared:
                return
            if not holds(view.hidden, record.seq):
                yield record
        if len(page) < limit:
            return
        before = view.end(page[0].seq)
        size = sum(len(record.data) for record in page) // len(page)
        limit = min(most, max(FEWEST, AT_ONCE // size))


def in_view(records: Sequence[Record], view: View) -> Sequence[Record]:
    """Those of ``records`` that are in view."""
    if not view.hidden:
        return records
    return [record for record in records if not holds(view.hidden, record.seq)]
