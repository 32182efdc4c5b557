"""Sets of seqs as ranges: what of a log is out of view."""

from __future__ import annotations

from bisect import bisect_right

Range = tuple[int, int]
"""The first and the last seq."""
Ranges = tuple[Range, ...]
"""In order; no two of them overlap or are adjacent."""


def join(one: Ranges, other: Ranges) -> Ranges:
    """The seqs that are in one of them, or in both."""
    joined: list[Range] = []
    for first, last in sorted((*one, *other)):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return tuple(joined)


def cut(ranges: Ranges, away: Ranges) -> Ranges:
    """The seqs of ``ranges`` that are not in ``away``."""
    left: list[Range] = []
    for first, last in ranges:
        for start, end in away:
            if end < first or start > last:
                continue
            if start > first:
                left.append((first, start - 1))
            first = end + 1
        if first <= last:
            left.append((first, last))
    return tuple(left)


def holds(ranges: Ranges, seq: int) -> bool:
    """Whether ``seq`` is in one of them."""
    return before(ranges, seq + 1) != seq + 1


def before(ranges: Ranges, seq: int) -> int:
    """The greatest seq up to this one such that what is just before it is in no range."""
    at = bisect_right(ranges, seq - 1, key=_first) - 1
    return ranges[at][0] if at >= 0 and seq - 1 <= ranges[at][1] else seq


def _first(one: Range) -> int:
    return one[0]
