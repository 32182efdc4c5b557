"""Compaction: what a finished run leaves in the log once nobody replays its deltas any more."""

from __future__ import annotations

from collections.abc import Sequence

from .codec import Record
from .merge import join_delta, split_delta


def compact(records: Sequence[Record]) -> list[Record]:
    """``records`` with one content event per message and one args event per tool call.

    A folded event stands where its last delta stood, so order within a message is kept and every
    surviving position is still good.
    """
    texts: dict[bytes, list[bytes]] = {}
    last: dict[bytes, int] = {}
    for index, record in enumerate(records):
        head, text = split_delta(record.data)
        if head is not None:
            texts.setdefault(head, []).append(text)
            last[head] = index
    kept: list[Record] = []
    for index, record in enumerate(records):
        head, _ = split_delta(record.data)
        if head is None:
            kept.append(record)
        elif last[head] == index:
            kept.append(Record(record.seq, record.tag, join_delta(head, texts[head])))
    return kept
