"""How the Redis store writes sessions and records, and reads them back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from ...errors import NotFound, PositionLost
from ...protocol.codec import Record
from ...protocol.messages import Metadata
from ...protocol.position import Position
from ...store import Head, SessionInfo, Settled

ENDS: Final = ("e", "s", "t")
"""The fields of the end of a log: epoch, seq and tag."""
HEAD: Final = (*ENDS, "m", "cd")
INFO: Final = ("e", "o", "a", "c", "u", "ti", "md", "r")
"""The fields of a session's info; the epoch shows that there is a session."""

_decode_metadata: Final = msgspec.json.Decoder(dict[str, Any]).decode
_encode: Final = msgspec.json.Encoder().encode


def missing() -> NotFound:
    return NotFound("There is no such session.")


def info_fields(info: SessionInfo) -> list[str | bytes]:
    """The fields of a new session, as names and values in turn."""
    values: dict[str, str | bytes | None] = {
        "o": info.owner,
        "a": info.agent,
        "c": repr(info.created),
        "u": repr(info.updated),
        "ti": info.title,
        "md": metadata_field(info.metadata),
        "r": None if info.retention is None else repr(info.retention),
    }
    return given_fields(values)


def given_fields(values: dict[str, str | bytes | None]) -> list[str | bytes]:
    """Names and values in turn, without those that are ``None``."""
    fields: list[str | bytes] = []
    for name, value in values.items():
        if value is not None:
            fields += (name, value)
    return fields


def metadata_field(metadata: Metadata | None) -> bytes | None:
    return None if metadata is None else _encode(metadata)


def info_of(id: str, fields: Sequence[Any]) -> SessionInfo:
    """The session with these ``INFO`` fields. Raises NotFound when there is none."""
    epoch, owner, agent, created, updated, title, metadata, retention = fields
    if epoch is None:
        raise missing()
    return SessionInfo(
        id=id,
        owner=_text(owner),
        agent=agent.decode(),
        created=float(created),
        updated=float(updated),
        title=_text(title),
        metadata=None if metadata is None else _decode_metadata(metadata),
        retention=None if retention is None else float(retention),
    )


def infos_of(rows: Iterable[Sequence[Any]]) -> list[SessionInfo]:
    """The sessions of rows of an id and its ``INFO`` fields."""
    return [info_of(row[0].decode(), row[1:]) for row in rows if row[1] is not None]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def position_of(text: bytes) -> Position:
    """The position that a script returned as ``SEQ TAG EPOCH``."""
    seq, tag, epoch = text.split(b" ")
    return Position(epoch.decode(), int(seq), tag.decode())


def end_of(fields: Sequence[Any]) -> Position:
    """The end of a log with these ``ENDS`` fields. Raises NotFound when there is no session."""
    epoch, seq, tag = fields
    if epoch is None:
        raise missing()
    return Position(epoch.decode(), int(seq), tag.decode())


def head_of(fields: Sequence[Any]) -> Head:
    """The head of a log with these ``HEAD`` fields. Raises NotFound."""
    return Head(end_of(fields[:3]), Settled(int(fields[3]), fields[4]))


def member(record: Record) -> bytes:
    """A record as the member of the log's sorted set."""
    return b"%d %b %b" % (record.seq, record.tag.encode(), record.data)


def record_of(member: bytes) -> Record:
    seq, tag, data = member.split(b" ", 2)
    return Record(int(seq), tag.decode(), data)


def refuse_outside(end: Position, after: Position) -> None:
    """Raises PositionLost for a position that is not within the log that ends at ``end``."""
    if after.epoch != end.epoch:
        raise PositionLost("epoch")
    if after.seq > end.seq:
        raise PositionLost("future")


def rest_after(after: Position, records: list[Record]) -> list[Record]:
    """``records`` from ``after`` on, without the first, which must be that position's event."""
    if not records or records[0].seq != after.seq:
        raise PositionLost("compacted")
    if records[0].tag != after.tag:
        raise PositionLost("diverged")
    return records[1:]
