"""Encode once: an event becomes bytes when it is appended, and every wire moves those bytes.

A log keeps ``{"run":"run_1","event":{...}}``. The native wire puts ``{"id":"<position>",`` where
the opening brace was; nothing is encoded again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from ..errors import EventTooLarge
from .events import AnyEvent, Event
from .position import Position, chain
from .sizes import FRAME


class Record(msgspec.Struct, frozen=True, gc=False, order=True):
    """One stored event: its number, the tag that names its whole past, and its bytes.

    The garbage collector need not look at it: it refers to nothing that could refer back.
    """

    seq: int
    tag: str
    data: bytes


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An event on its way into a log, encoded when it was made: later changes don't reach it.

    ``event`` is ``None`` where nobody here needs it decoded.
    """

    data: bytes
    event: Event | None
    run: str | None


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the bytes of a record say: an event, and the run that it belongs to."""

    run: str | None = None
    event: AnyEvent


_encoder: Final = msgspec.json.Encoder()
_envelopes: Final = msgspec.json.Decoder(Envelope)
_events: Final[msgspec.json.Decoder[AnyEvent]] = msgspec.json.Decoder(AnyEvent)


def encode_event(event: Event, *, run: str | None = None) -> bytes:
    """The bytes of a record."""
    return entry(event, run=run).data


def entry(event: Event, *, run: str | None = None) -> Entry:
    """``event``, encoded. Run ids are minted by the server, so they need no escapes."""
    body = _encoder.encode(event)
    if run is None:
        return Entry(b'{"event":%b}' % body, event, None)
    return Entry(b'{"run":"%b","event":%b}' % (run.encode(), body), event, run)


def entry_of(data: bytes, types: Collection[str]) -> Entry:
    """The entry of a record's bytes, its event decoded where that is one of these types."""
    if event_type(data) not in types:
        return Entry(data, None, None)
    body = decode_record(data)
    return Entry(data, body.event, body.run)


def check_sizes(entries: Iterable[Entry], max_event_size: int) -> None:
    """Raises EventTooLarge for an event whose frame would be larger than that."""
    for one in entries:
        size = len(one.data) + FRAME
        if size > max_event_size:
            raise EventTooLarge.of(event_type(one.data), size, max_event_size)


def decode_record(data: bytes) -> Envelope:
    return _envelopes.decode(data)


def decode_event(data: bytes | msgspec.Raw) -> AnyEvent:
    return _events.decode(data)


def event_type(data: bytes) -> str:
    """The ``type`` of a record's event, without decoding it."""
    start = data.index(b'"event":{"type":"') + 17
    return data[start : data.index(b'"', start)].decode()


def event_frames(epoch: str, records: Iterable[Record]) -> list[bytes]:
    """The event frames of the native wire."""
    opening = b'{"id":"%b.' % epoch.encode()
    return [
        b'%b%d.%b",%b' % (opening, record.seq, record.tag.encode(), record.data[1:])
        for record in records
    ]


def join_frames(frames: list[bytes]) -> bytes:
    """One WebSocket message of several frames that were ready together."""
    return frames[0] if len(frames) == 1 else b"[%b]" % b",".join(frames)


def extend(head: Position, datas: Iterable[bytes]) -> list[Record]:
    """``datas`` as the records that follow ``head``."""
    records: list[Record] = []
    seq, tag = head.seq, head.tag
    for data in datas:
        seq += 1
        tag = chain(tag, seq, data)
        records.append(Record(seq, tag, data))
    return records
