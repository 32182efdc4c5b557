"""``/sessions/{id}/events``: the log over plain HTTP, as a stream of events or by polling.

The frames are those of the native wire. A stream is a cursor like any connection: rung when the
log grows, it reads what follows its position; it holds no queue.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from ..auth import Identity
from ..errors import (
    AgentwsError,
    Draining,
    Internal,
    MethodNotAllowed,
    PositionLost,
    Unavailable,
)
from ..protocol import bodies as b
from ..protocol import frames as f
from ..protocol.codec import Record
from ..protocol.native import NativeWire
from ..protocol.position import Position
from ..protocol.sizes import EVENT
from ..runs.leased import new_id
from ..sessions.follower import Bell
from ..sessions.session import Session
from ..store import PAGE
from .connection import MAX_CONTROLS, MAX_UNREAD, bye
from .connections import Place
from .http import SERVER, Call, Operation, answer, query_float
from .opening import Beginning, begin, welcome
from .outlet import GONE
from .pieces import Pieces
from .session_routes import open_session

if TYPE_CHECKING:
    from ..gateway.gateway import AgentGateway

logger: Final = logging.getLogger("agentws")

KEEPALIVE: Final = 15.0
"""Seconds of silence after which a comment is sent: proxies drop connections that say nothing."""
RETRY: Final = b"retry: 1000\n\n"
LONGEST_WAIT: Final = 30.0
"""Seconds that a poll may wait for something new; proxies mostly give up after 60."""

_WIRE: Final = NativeWire()
_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class EventRoutes:
    """Answers who follows a session over HTTP."""

    def __init__(self, gateway: AgentGateway) -> None:
        self._gateway = gateway

    def operations(self) -> list[Operation]:
        return [
            Operation(
                "GET",
                "/sessions/{id}/events",
                self.events,
                "caller",
                "The session's events, as a stream, or by polling with Accept: application/json",
            )
        ]

    async def events(self, call: Call) -> ASGIApp:
        if call.request.method == "HEAD":
            raise MethodNotAllowed(expected="GET")
        gateway = self._gateway
        if gateway.draining:
            raise Draining(retry_after=1.0)
        # A browser that comes back asks the old address, and says in the header where it stands.
        query, headers = call.request.query_params, call.request.headers
        after = headers.get("last-event-id") or query.get("after")
        session = await open_session(gateway, call)
        messages = gateway.limits.snapshot_messages
        if _polls(call):
            wait = query_float(call.request, "wait") or 0.0
            # Who waits is a connection as long as it does.
            with self._admit(call) if wait else nullcontext():
                beginning = await begin(session, after=after, made=False, messages=messages)
                wait = min(wait, LONGEST_WAIT)
                return answer(await poll(gateway, session, beginning, wait=wait))
        place = self._admit(call)
        try:
            async with gateway.connections.opening:
                beginning = await begin(session, after=after, made=False, messages=messages)
        except BaseException:
            place.release()
            raise
        return EventStream(gateway, session, beginning, identity=call.identity, place=place)

    def _admit(self, call: Call) -> Place:
        return self._gateway.connections.admit(owner=call.owner, address=call.address)


def _polls(call: Call) -> bool:
    accept = call.request.headers.get("accept", "")
    return "application/json" in accept and "text/event-stream" not in accept


async def poll(
    gateway: AgentGateway, session: Session, beginning: Beginning, *, wait: float
) -> b.Poll:
    """What there is after ``beginning``; waits up to ``wait`` seconds for the first of it.

    A node that drains answers at once: a server may wait for this before it ends.
    """
    bell = Bell()
    session.follow(bell)
    gateway.connections.polls.add(bell.ring)
    try:
        records = await _read_after(session, beginning)
        if not records and not beginning.frames and wait:
            try:
                async with asyncio.timeout(wait):
                    while not (records or gateway.draining):
                        bell.clear()
                        await bell.wait()
                        records = await _read_after(session, beginning)
            except TimeoutError:
                records = ()
    except PositionLost as lost:
        raise Unavailable("This session is not what it was.") from lost
    finally:
        gateway.connections.polls.discard(bell.ring)
        session.unfollow(bell)
    epoch, position = beginning.position.epoch, beginning.position
    if records:
        position = Position(epoch, records[-1].seq, records[-1].tag)
    frames = [*beginning.frames, *_WIRE.events(epoch, records)]
    return b.Poll(
        events=[msgspec.Raw(frame) for frame in frames],
        position=str(position),
        resume=beginning.resume,
        reason=beginning.reason,
        more=position.seq < session.head.seq,
    )


async def _read_after(session: Session, beginning: Beginning) -> Sequence[Record]:
    """The events after it that fit into one answer beside it; one alone may be larger."""
    pieces, found = Pieces(session), list[Record]()
    position, room = beginning.position, EVENT - sum(map(len, beginning.frames))
    while len(found) < PAGE:
        records = await pieces.after(position)
        room -= sum(len(record.data) for record in records)
        if not records or (room < 0 and (found or beginning.frames)):
            break
        found += records
        position = Position(position.epoch, records[-1].seq, records[-1].tag)
    return found[:PAGE]


class EventStream:
    """One peer following one session; the response is its loop."""

    def __init__(
        self,
        gateway: AgentGateway,
        session: Session,
        beginning: Beginning,
        *,
        identity: Identity | None,
        place: Place,
    ) -> None:
        self.id: Final = new_id("con")
        self.session: Final = session
        self.owner: Final = None if identity is None else identity.id
        self._place = place
        self._gateway = gateway
        self._beginning: Beginning | None = beginning
        self._position = beginning.position
        self._controls: list[bytes] = []
        self._farewell: bytes | None = None
        self._gone = False
        self._rung = asyncio.Event()

    def __repr__(self) -> str:
        return f"<EventStream {self.id} at {self._position.seq}>"

    # Following (session.Follower)

    def ring(self) -> None:
        self._rung.set()

    def lost(self) -> None:
        self._end(Unavailable("This session is not what it was."))

    # To everybody (connections.Peer)

    @property
    def closing(self) -> bool:
        return self._farewell is not None

    def send_control(self, frame: f.ControlFrame) -> None:
        """Shows a control frame; a peer that leaves too much unread misses the newest."""
        if len(self._controls) < MAX_CONTROLS and sum(map(len, self._controls)) < MAX_UNREAD:
            self._controls.append(control_event(frame))
        self.ring()

    def close_for_restart(self) -> None:
        self._end(Draining(retry_after=1.0), code=1012)

    def _end(self, error: AgentwsError, *, code: int | None = None) -> None:
        if self._farewell is None:
            self._farewell = control_event(bye(error, code=code))
        self.ring()

    # The response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway = self._gateway
        _mark_unbounded(scope)
        gateway.connections.add(self, self._place)
        self.session.follow(self)
        watching = gateway.tasks.spawn(
            self._watch(receive), name=f"watching {self.id}", context=contextvars.copy_context()
        )
        try:
            start = {"type": "http.response.start", "status": 200, "headers": _HEADERS}
            await self._send(send, start)
            for chunk in self._prelude():
                await self._write(send, chunk)
            await self._follow(send)
            await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            watching.cancel()
            self.session.unfollow(self)
            self.session.used = asyncio.get_running_loop().time()
            gateway.connections.discard(self)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self.ring()

    def _prelude(self) -> Iterator[bytes]:
        """What is said first. A slow stream holds what is left of it, and no more."""
        beginning, self._beginning = self._beginning, None
        if beginning is None:
            return
        said = welcome(
            self._gateway, self.session, beginning, connection=self.id, identity=self.owner
        )
        yield RETRY + control_event(said)
        frames, position = deque(beginning.frames), str(beginning.position)
        del beginning
        # Only the last frame of a snapshot names its position: who loses the connection among
        # them comes back with the position it had, and gets the snapshot whole.
        while frames:
            frame = frames.popleft()
            yield _event(position, frame) if not frames else b"data: %b\n\n" % frame

    async def _follow(self, send: Send) -> None:
        """Writes what there is and waits for more, until the peer has gone or must go."""
        while not self._gone:
            self._rung.clear()
            controls, self._controls = self._controls, []
            await self._write(send, b"".join(controls))
            try:
                await self._write_events(send)
            except PositionLost:
                self.lost()
            except AgentwsError as error:
                self._end(error)
            except Exception:
                logger.exception("%r can't be written to", self)
                self._end(Internal())
            if self._farewell is not None:
                await self._write(send, self._farewell)
                return
            if not await self._heard():
                await self._write(send, b": ping\n\n")

    async def _write_events(self, send: Send) -> None:
        pieces = Pieces(self.session)
        while not self._gone and self._position.seq < self.session.head.seq:
            records = await pieces.after(self._position)
            if not records:
                return
            epoch, last = self._position.epoch, records[-1]
            chunk = events(epoch, records)
            del records
            await self._write(send, chunk)
            self._position = Position(epoch, last.seq, last.tag)

    async def _heard(self) -> bool:
        """Whether something happened before the silence became too long."""
        try:
            async with asyncio.timeout(KEEPALIVE):
                await self._rung.wait()
        except TimeoutError:
            return False
        return True

    async def _write(self, send: Send, chunk: bytes) -> None:
        if chunk:
            await self._send(send, {"type": "http.response.body", "body": chunk, "more_body": True})

    async def _send(self, send: Send, message: dict[str, Any]) -> None:
        if self._gone:
            return
        try:
            await send(message)
        except GONE:
            # Servers may say so when they are asked to send, and only then.
            self._gone = True


def events(epoch: str, records: Sequence[Record]) -> bytes:
    """Event frames, each with its position as the id that a browser comes back with."""
    return b"".join(_event(_position_of(frame), frame) for frame in _WIRE.events(epoch, records))


def control_event(frame: f.ControlFrame) -> bytes:
    """A control frame, under its own event name: only those of the log are plain messages."""
    return b"event: %b\ndata: %b\n\n" % (_name(frame).encode(), f.encode_frame(frame))


def _name(frame: f.ControlFrame) -> str:
    return str(frame.__struct_config__.tag)


def _event(position: str, frame: bytes) -> bytes:
    # JSON has no raw line breaks, so a frame is one data line.
    return b"id: %b\ndata: %b\n\n" % (position.encode(), frame)


def _position_of(frame: bytes) -> str:
    """The position that an event frame begins with; positions need no escapes."""
    start = len(b'{"id":"')
    return frame[start : frame.index(b'"', start)].decode()


def _mark_unbounded(scope: dict[str, Any] | Any) -> None:
    """Tells the server preset that this response is unbounded: a shutdown must not wait for it."""
    extension = (scope.get("extensions") or {}).get(SERVER)
    if extension is not None:
        extension["unbounded"] = True
