"""Merging of adjacent text deltas, and cutting of long ones: both on encoded records.

A reader that is late reads less, and loses nothing. Compaction is the same, kept: whoever stands
at a position that is left has read everything up to it and nothing after it, so any event that
stays ends a stretch. Whatever merges keeps to the size to which a writer cuts, so no reader ever
gets a text event that is larger than ``sizes.TEXT``.

``delta`` is the last member of a delta's event, so two of the same run, message and kind share
everything up to its opening quote. Inside a JSON string a quote is always escaped, hence the
marker can't occur later than where the member begins; in other members of open shape it may occur
earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .codec import Record
from .cutting import border
from .sizes import FRAME, TEXT

LARGEST: Final = TEXT - FRAME
"""Bytes of a text event's record, so that its frame is at most ``sizes.TEXT``."""
LARGEST_HEAD: Final = LARGEST // 2
"""Bytes of such a record that may be anything but its text."""

_MARKER: Final = b',"delta":"'
_END: Final = b'"}}'
_TYPE: Final = b'"event":{"type":"'
_DELTAS: Final = (b'TEXT_MESSAGE_CONTENT"', b'TOOL_CALL_ARGS"', b'REASONING_MESSAGE_CONTENT"')
"""The events whose last member is ``delta``, and that a string."""


def merge(records: Sequence[Record]) -> list[Record]:
    """``records`` with each stretch of adjacent deltas of one message as one record.

    The merged record stands at the last position of its stretch: who has applied it has applied
    them all. A stretch ends where its record would become larger than a text event may be.
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
        _close(merged, texts, open_head)
        open_head, text = split_delta(data)
        texts, start, room = [text], len(open_head or b""), LARGEST - len(data)
        merged.append(record)
    _close(merged, texts, open_head)
    return merged


def split_delta(data: bytes) -> tuple[bytes | None, bytes]:
    """What a text delta shares with its neighbours, and its text; ``None`` for any other event."""
    if not data.startswith(_DELTAS, data.find(_TYPE) + len(_TYPE)):
        return None, b""
    at = data.rindex(_MARKER) + len(_MARKER)
    return data[:at], data[at : -len(_END)]


def join_delta(head: bytes, texts: Sequence[bytes]) -> bytes:
    return head + b"".join(texts) + _END


def cut_delta(head: bytes, text: bytes) -> list[bytes]:
    """The records that say what one of ``head`` and ``text`` would, each at most ``LARGEST``.

    Text is cut between characters as people see them. With a ``head`` of more than
    ``LARGEST_HEAD`` bytes they are larger.
    """
    room = LARGEST - min(len(head), LARGEST_HEAD) - len(_END)
    pieces: list[bytes] = []
    start = 0
    while len(text) - start > room:
        end = border(text, start, start + room)
        pieces.append(text[start:end])
        start = end
    pieces.append(text[start:])
    return [join_delta(head, [piece]) for piece in pieces]


def _close(merged: list[Record], texts: list[bytes], head: bytes | None) -> None:
    """Makes the last record say all of its stretch."""
    if head is not None and len(texts) > 1:
        last = merged[-1]
        merged[-1] = Record(last.seq, last.tag, join_delta(head, texts))
