"""Coalescing of adjacent text deltas, and cutting of long ones. Both work on encoded records.

A reader with a backlog gets fewer, larger events with the same text. Log compaction stores the
same merged records. A merged record has the last position of its deltas. So a reader that is at a
remaining position has read everything up to it and nothing after it. Merged records obey the size
limit of written ones: no reader gets a text event larger than ``sizes.TEXT``.

``delta`` is the last member of a delta event, so two deltas of the same run, message and kind have
the same bytes up to its opening quote. Quotes inside a JSON string are escaped, so the last
occurrence of the marker is where that member begins. Members of open shape (``metadata``) may
contain the marker earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .codec import Record
from .cutting import boundary
from .sizes import FRAME, TEXT

LARGEST: Final = TEXT - FRAME
"""The most bytes of a text event's record: its frame is then at most ``sizes.TEXT``."""
LARGEST_HEAD: Final = LARGEST // 2
"""The most bytes of such a record that are not its text; see :func:`cut_delta`."""

_MARKER: Final = b',"delta":"'
_END: Final = b'"}}'
_TYPE: Final = b'"event":{"type":"'
_DELTAS: Final = (b'TEXT_MESSAGE_CONTENT"', b'TOOL_CALL_ARGS"', b'REASONING_MESSAGE_CONTENT"')
"""The events whose last member is a ``delta`` that is a string."""


def merge(records: Sequence[Record]) -> list[Record]:
    """``records`` with adjacent deltas of one message merged into one record.

    The merged record has the position of the last of them. A record that would become larger than
    a text event may be is not extended further: the next delta begins a new one.
    """
    merged: list[Record] = []
    open_head: bytes | None = None
    texts: list[bytes] = []
    start, room, end = 0, 0, -len(_END)
    for record in records:
        data = record.data
        if open_head is not None and data.startswith(open_head):
            text = data[start:end]
            room -= len(text)
            if room >= 0:
                texts.append(text)
                merged[-1] = record
                continue
        _finish(merged, texts, open_head)
        open_head, text = split_delta(data)
        texts, start, room = [text], len(open_head or b""), LARGEST - len(data)
        merged.append(record)
    _finish(merged, texts, open_head)
    return merged


def split_delta(data: bytes) -> tuple[bytes | None, bytes]:
    """The bytes before the text of a delta event, and the text; ``None`` for other events."""
    if not data.startswith(_DELTAS, data.find(_TYPE) + len(_TYPE)):
        return None, b""
    at = data.rindex(_MARKER) + len(_MARKER)
    return data[:at], data[at : -len(_END)]


def join_delta(head: bytes, texts: Sequence[bytes]) -> bytes:
    return head + b"".join(texts) + _END


def cut_delta(head: bytes, text: bytes) -> list[bytes]:
    """``text`` as several records with the same ``head``, each of at most ``LARGEST`` bytes.

    Text is cut between grapheme clusters (characters as people see them). With a ``head`` of more
    than ``LARGEST_HEAD`` bytes the records are larger.
    """
    room = LARGEST - min(len(head), LARGEST_HEAD) - len(_END)
    pieces: list[bytes] = []
    start = 0
    while len(text) - start > room:
        end = boundary(text, start, start + room)
        pieces.append(text[start:end])
        start = end
    pieces.append(text[start:])
    return [join_delta(head, [piece]) for piece in pieces]


def _finish(merged: list[Record], texts: list[bytes], head: bytes | None) -> None:
    """Replaces the last record by the merged one, if it was extended."""
    if head is not None and len(texts) > 1:
        last = merged[-1]
        merged[-1] = Record(last.seq, last.tag, join_delta(head, texts))
