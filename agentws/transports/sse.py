"""Following a session over HTTP: as a stream (SSE), or by long polling.

A stream is written by :mod:`agentws.transports.stream`. A client polls with
``Accept: application/json``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Final

import msgspec
from starlette.types import ASGIApp

from ..errors import Draining, MethodNotAllowed, PositionLost, Unavailable
from ..protocol import bodies as b
from ..protocol.codec import Record
from ..protocol.position import Position
from ..protocol.sizes import EVENT
from ..protocol.wires.wire import EncoderContext, MakeEncoder, StreamWire
from ..runs.ids import new_id
from ..sessions.follower import Bell
from ..sessions.session import Session
from ..store import PAGE
from .connection import LOG_REPLACED
from .connections import Place
from .http import Call, Operation, free, json_response, query_float
from .opening import Beginning, begin, greeting
from .pieces import Pieces
from .service import SessionService
from .session_routes import open_session
from .stream import HttpStream, StreamBody
from .times import iso_time

LONGEST_WAIT: Final = 30.0
"""Seconds that a poll may wait for something new; most proxies give up after 60."""


class EventRoutes:
    """The routes by which a client follows a session over HTTP."""

    def __init__(self, service: SessionService, wires: Sequence[StreamWire]) -> None:
        self._service = service
        self._wires = wires

    def operations(self) -> list[Operation]:
        return [
            Operation(
                "GET", wire.path, partial(self.follow, wire), "caller", wire.summary, cost=free
            )
            for wire in self._wires
        ]

    async def follow(self, wire: StreamWire, call: Call) -> ASGIApp:
        if call.request.method == "HEAD":
            raise MethodNotAllowed(expected="GET")
        if self._service.draining:
            raise Draining(retry_after=1.0)
        # A browser that reconnects asks the old address, and gives its position in the header.
        after = call.request.headers.get("last-event-id") or call.request.query_params.get("after")
        session = await open_session(self._service, call)
        if wire.polled is not None and polls(call):
            return await self._poll(wire, wire.polled, call, session, after=after)
        return await self._stream(wire, call, session, after=after)

    async def _poll(
        self,
        wire: StreamWire,
        make_encoder: MakeEncoder,
        call: Call,
        session: Session,
        *,
        after: str | None,
    ) -> ASGIApp:
        service, wait = self._service, query_float(call.request, "wait") or 0.0
        encoder = make_encoder(_context(session, call))
        # A poll that waits is a connection as long as it does.
        with self._admit(call) if wait else nullcontext():
            beginning = await begin(service, session, wire, encoder, after=after, made=False)
            first = encoder.events(beginning.position.epoch, beginning.records)
            wait = min(wait, LONGEST_WAIT)
            records = await read_or_wait(service, session, beginning, first, wait=wait)
        position = after_last(beginning.position, records)
        frames = [*first, *encoder.events(position.epoch, records)]
        body = b.Poll(
            events=[msgspec.Raw(frame) for frame in frames],
            position=str(position),
            resume=beginning.resume,
            reason=beginning.reason,
            more=position.seq < session.head.seq,
        )
        return json_response(body)

    async def _stream(
        self, wire: StreamWire, call: Call, session: Session, *, after: str | None
    ) -> ASGIApp:
        service, id = self._service, new_id("con")
        encoder = wire.encoder(_context(session, call))
        place = self._admit(call)
        try:
            async with service.connections.opening():
                beginning = await begin(service, session, wire, encoder, after=after, made=False)
            said = greeting(
                service,
                session,
                wire,
                encoder,
                beginning,
                connection=id,
                identity=call.owner,
            )
            snapshot = encoder.events(beginning.position.epoch, beginning.records)
        except BaseException:
            place.release()
            raise
        body = StreamBody(wire.media_type, encoder, wire.keepalive)
        first = [b"".join([wire.preamble, *said]), *snapshot]
        return HttpStream(
            service, session, beginning.position, body, id=id, place=place, first=first
        )

    def _admit(self, call: Call) -> Place:
        return self._service.connections.admit(owner=call.owner, address=call.address)


def _context(session: Session, call: Call) -> EncoderContext:
    return EncoderContext(session.id, call.request.query_params, iso_time)


def polls(call: Call) -> bool:
    """Whether the client asks for JSON, and not for a stream."""
    accept = call.request.headers.get("accept", "")
    return "application/json" in accept and "text/event-stream" not in accept


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
