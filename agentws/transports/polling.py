"""Long polling: a request for what follows a position in a log, which may wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
from starlette.types import ASGIApp

from ..errors import PositionLost, Unavailable
from ..protocol import bodies as b
from ..protocol.codec import Record
from ..protocol.position import Position
from ..protocol.sizes import EVENT
from ..sessions.follower import Bell
from ..sessions.session import Session
from ..store import PAGE
from .connection import LOG_REPLACED
from .http import Call, json_response, query_float
from .opening import Beginning
from .pieces import Pieces
from .service import SessionService

LONGEST_WAIT: Final = 30.0
"""Seconds that a poll may wait for something new; most proxies give up after 60."""


def polls(call: Call) -> bool:
    """Whether the client asks for JSON, and not for a stream."""
    accept = call.request.headers.get("accept", "")
    return "application/json" in accept and "text/event-stream" not in accept


def wait_of(call: Call) -> float:
    """Seconds that the client lets the poll wait; raises BadRequest."""
    return min(query_float(call.request, "wait") or 0.0, LONGEST_WAIT)


def poll_response(
    log: Session, beginning: Beginning, position: Position, frames: Sequence[bytes]
) -> ASGIApp:
    """The answer to a poll: ``frames``, up to ``position``, of a reader that began there."""
    body = b.Poll(
        events=[msgspec.Raw(frame) for frame in frames],
        position=str(position),
        resume=beginning.resume,
        reason=beginning.reason,
        more=position.seq < log.head.seq,
    )
    return json_response(body)


async def read_or_wait(
    service: SessionService,
    session: Session,
    beginning: Beginning,
    first: Sequence[bytes],
    *,
    wait: float,
) -> Sequence[Record]:
    """The events after ``beginning``; waits up to ``wait`` seconds if there are none yet.

    ``first`` are the frames that precede them in the response. A node that drains answers at once:
    its server may wait for this response before it stops. Raises Unavailable if the log was lost.
    """
    bell = Bell()
    session.follow(bell)
    service.connections.polls.add(bell.ring)
    try:
        records = await _read_after(session, beginning, first)
        if not records and not first and wait:
            try:
                async with asyncio.timeout(wait):
                    while not (records or service.draining):
                        bell.clear()
                        await bell.wait()
                        records = await _read_after(session, beginning, first)
            except TimeoutError:
                records = ()
    except PositionLost as lost:
        raise Unavailable(LOG_REPLACED) from lost
    finally:
        service.connections.polls.discard(bell.ring)
        session.unfollow(bell)
    return records


async def _read_after(
    session: Session, beginning: Beginning, first: Sequence[bytes]
) -> Sequence[Record]:
    """The events that fit into one answer beside ``first``; one alone may be larger."""
    pieces, found = Pieces(session), list[Record]()
    position, room = beginning.position, EVENT - sum(map(len, first))
    while len(found) < PAGE:
        records = await pieces.after(position)
        room -= sum(len(record.data) for record in records)
        if not records or (room < 0 and (found or first)):
            break
        found += records
        position = after_last(position, records)
    return found[:PAGE]


def after_last(position: Position, records: Sequence[Record]) -> Position:
    """The position of the last of ``records``, which follow ``position``."""
    if not records:
        return position
    return Position(position.epoch, records[-1].seq, records[-1].tag)
