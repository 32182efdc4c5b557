"""Compaction: what a finished run leaves in the log once nobody replays its deltas any more."""

from __future__ import annotations

from collections.abc import Sequence

from .codec import Record, event_type
from .merge import join_delta, split_delta


class _Stretch:
    """Deltas of one message or call that may become one event: they differ in their text only."""

    __slots__ = ("head", "last", "texts")

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.last = 0
        self.texts: list[bytes] = []


def compact(records: Sequence[Record]) -> list[Record]:
    """``records`` with one content event per message and one args event per tool call.

    A folded event stands where its last delta stood, so order within a message is kept and every
    surviving position is still good. Deltas of one message that say more than their text, or have
    a snapshot of all messages between them, stay apart: moving them would change what is read.
    """
    open_stretches: dict[bytes, _Stretch] = {}
    belongs: list[_Stretch | None] = []
    for index, record in enumerate(records):
        stretch = None
        head, text = split_delta(record.data)
        if head is not None:
            subject = head[head.rindex(b'Id":"') :]
            known = open_stretches.get(subject)
            if known is None or known.head != head:
                known = open_stretches[subject] = _Stretch(head)
            stretch = known
            stretch.texts.append(text)
            stretch.last = index
        elif event_type(record.data) == "MESSAGES_SNAPSHOT":
            open_stretches.clear()
        belongs.append(stretch)
    return [
        record if stretch is None else _folded(record, stretch)
        for index, (record, stretch) in enumerate(zip(records, belongs, strict=True))
        if stretch is None or stretch.last == index
    ]


def _folded(record: Record, stretch: _Stretch) -> Record:
    return Record(record.seq, record.tag, join_delta(stretch.head, stretch.texts))
