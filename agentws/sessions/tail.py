"""The tail: a cache of the newest events of a log, encoded."""

from __future__ import annotations

from collections.abc import Sequence

from ..protocol.codec import Record


class Tail:
    """Consecutive records, the newest last. Its size is bounded by twice ``limit`` bytes."""

    __slots__ = ("_limit", "_records", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._records: list[Record] = []
        self._size = 0

    def __repr__(self) -> str:
        return f"<Tail records={len(self._records)} bytes={self._size}>"

    def add(self, records: Sequence[Record], size: int) -> None:
        """Adds ``records`` of ``size`` bytes together, which follow all others without a gap."""
        kept = self._records
        kept += records
        self._size += size
        if self._size > 2 * self._limit:
            self._shorten()

    def _shorten(self) -> None:
        """Drops the older half of the bytes at once, so that the cost per event is small."""
        records, dropped = self._records, 0
        for record in records[:-1]:
            self._size -= len(record.data)
            dropped += 1
            if self._size <= self._limit:
                break
        del records[:dropped]

    def add_read(self, records: Sequence[Record]) -> None:
        """Adds ``records``, which are newer than all others. What is before a gap is dropped."""
        first = (self._records or records)[0].seq
        if records[-1].seq - first >= len(self._records) + len(records):
            records = _contiguous_end([*self._records, *records])
            self.clear()
        self.add(records, size_of(records))

    def after(self, seq: int) -> Sequence[Record] | None:
        """The records after ``seq``; ``None`` when the first of them was dropped already."""
        records = self._records
        if not records or seq < records[0].seq - 1:
            return None
        return records[seq - records[0].seq + 1 :]

    def tag_at(self, seq: int) -> str | None:
        """The tag of the event at ``seq``; ``None`` if it is not in the cache."""
        records = self._records
        if not records or not records[0].seq <= seq <= records[-1].seq:
            return None
        return records[seq - records[0].seq].tag

    @property
    def event_size(self) -> int | None:
        """The average bytes of an event; ``None`` when there are none."""
        return self._size // len(self._records) if self._records else None

    def clear(self) -> None:
        self._records, self._size = [], 0


def size_of(records: Sequence[Record]) -> int:
    """The bytes of these records."""
    return sum([len(record.data) for record in records])


def _contiguous_end(records: list[Record]) -> list[Record]:
    """The longest end of ``records`` with no missing seq; compaction leaves gaps before it."""
    start = len(records) - 1
    while start and records[start - 1].seq == records[start].seq - 1:
        start -= 1
    return records[start:]
