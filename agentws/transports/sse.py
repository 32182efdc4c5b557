"""Following a session over HTTP: as a stream (SSE), or by long polling.

A stream is written by :mod:`agentws.transports.stream`. A client polls with
``Accept: application/json``, see :mod:`agentws.transports.polling`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

from starlette.types import ASGIApp

from ..errors import Draining, MethodNotAllowed
from ..protocol.wires.wire import EncoderContext, MakeEncoder, StreamWire
from ..runs.ids import new_id
from ..sessions.session import Session
from .connections import Place
from .http import Call, Operation, free
from .opening import begin, greeting
from .polling import after_last, poll_response, polls, read_or_wait, wait_of
from .service import SessionService
from .session_routes import open_session
from .stream import HttpStream, StreamBody
from .times import iso_time


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
        after = followed_after(self._service, call)
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
        service, wait = self._service, wait_of(call)
        encoder = make_encoder(_context(session, call))
        # A poll that waits is a connection as long as it does.
        with admit(service, call) if wait else nullcontext():
            beginning = await begin(service, session, wire, encoder, after=after, made=False)
            first = encoder.events(beginning.position.epoch, beginning.records)
            records = await read_or_wait(service, session, beginning, first, wait=wait)
        position = after_last(beginning.position, records)
        frames = [*first, *encoder.events(position.epoch, records)]
        return poll_response(session, beginning, position, frames)

    async def _stream(
        self, wire: StreamWire, call: Call, session: Session, *, after: str | None
    ) -> ASGIApp:
        service, id = self._service, new_id("con")
        encoder = wire.encoder(_context(session, call))
        place = admit(service, call)
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


def _context(session: Session, call: Call) -> EncoderContext:
    return EncoderContext(session.id, call.request.query_params, iso_time)


def followed_after(service: SessionService, call: Call) -> str | None:
    """The position that the client follows a log from; raises MethodNotAllowed and Draining."""
    if call.request.method == "HEAD":
        raise MethodNotAllowed(expected="GET")
    if service.draining:
        raise Draining(retry_after=1.0)
    # A browser that reconnects asks the old address, and gives its position in the header.
    return call.request.headers.get("last-event-id") or call.request.query_params.get("after")


def admit(service: SessionService, call: Call) -> Place:
    """Counts a request that follows a log as a connection; raises TooMany and Unavailable."""
    return service.connections.admit(owner=call.owner, address=call.address)
