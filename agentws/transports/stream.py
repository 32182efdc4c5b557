"""A streamed HTTP response that follows a session: the pump of every wire that is such a response.

A stream is a cursor like any connection: rung when the log grows, it reads what follows its
position. It holds no queue of events. The server's ``send`` waits while the client's buffer is
full (backpressure), and the stream reads on when it returns.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from starlette.types import Receive, Scope, Send

from ..errors import AgentwsError, Draining, Internal, PositionLost, Unavailable
from ..protocol.message_run import MessageRun
from ..protocol.position import Position
from ..protocol.wires.wire import Encoder
from ..sessions.session import Session
from .connection import LOG_REPLACED, MAX_CONTROLS, MAX_UNREAD, close_notice
from .connections import Place
from .http import SERVER
from .outlet import GONE
from .pieces import Pieces
from .service import SessionService

logger: Final = logging.getLogger("agentws")

KEEPALIVE: Final = 15.0
"""Seconds of silence after which a keepalive is sent: proxies drop idle connections."""


class StreamBody(NamedTuple):
    """How a stream is written."""

    media_type: str
    encoder: Encoder
    keepalive: bytes = b""
    headers: Sequence[tuple[bytes, bytes]] = ()


class HttpStream:
    """One client following one session. The ASGI app of the response, which is its loop.

    ``first`` are the chunks sent before any event after ``position``. With ``run`` only the events
    of that run are sent, and the response ends with it.
    """

    def __init__(
        self,
        service: SessionService,
        session: Session,
        position: Position,
        body: StreamBody,
        *,
        id: str,
        place: Place,
        first: Iterable[bytes] = (),
        run: MessageRun | None = None,
    ) -> None:
        self.id: Final = id
        self.session: Final = session
        self._service = service
        self._position = position
        self._body = body
        self.encoder: Final = body.encoder
        self._place = place
        self._first = deque(first)
        self._run = run
        self._controls: list[bytes] = []
        self._close_notice: list[bytes] | None = None
        self._gone = False
        self._rung = asyncio.Event()

    def __repr__(self) -> str:
        return f"<HttpStream {self.id} at {self._position.seq}>"

    # Following (session.Follower)

    def ring(self) -> None:
        self._rung.set()

    def lost(self) -> None:
        self._end(Unavailable(LOG_REPLACED))

    # Broadcasts and closing (connections.Peer)

    @property
    def closing(self) -> bool:
        return self._close_notice is not None

    def send_frames(self, parts: Sequence[bytes]) -> None:
        """Sends control frames. A slow consumer with too many unread misses the newest."""
        if len(self._controls) < MAX_CONTROLS and sum(map(len, self._controls)) < MAX_UNREAD:
            self._controls += parts
        self.ring()

    def close_for_restart(self, retry_after: float) -> None:
        self._end(Draining(retry_after=round(retry_after, 2)), code=1012)

    def _end(self, error: AgentwsError, *, code: int | None = None) -> None:
        if self._close_notice is None:
            self._close_notice = close_notice(self.encoder, error, code=code)
        self.ring()

    # The response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        _mark_unbounded(scope)
        service.connections.add(self, self._place)
        self.session.follow(self)
        watching = service.tasks.spawn(
            self._watch(receive), name=f"watching {self.id}", context=contextvars.copy_context()
        )
        try:
            start = {"type": "http.response.start", "status": 200, "headers": self._headers()}
            await self._send(send, start)
            # One by one: for a slow consumer only what was not sent yet is kept in memory.
            while self._first:
                await self._write(send, self._first.popleft())
            await self._follow(send)
            await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            watching.cancel()
            self.session.unfollow(self)
            self.session.used = asyncio.get_running_loop().time()
            service.connections.discard(self)

    def _headers(self) -> list[tuple[bytes, bytes]]:
        return [
            (b"content-type", b"%b; charset=utf-8" % self._body.media_type.encode()),
            # A proxy that compresses a stream holds it back until it has enough to compress.
            (b"cache-control", b"no-cache, no-transform"),
            (b"x-accel-buffering", b"no"),
            *self._body.headers,
        ]

    async def _watch(self, receive: Receive) -> None:
        """Notices that the client has gone. A middleware that has read the body may repeat it for
        ever: that hides the disconnect, and waits for nothing, so that nothing else would run.
        """
        has_ended = False
        while (message := await receive())["type"] != "http.disconnect":
            if has_ended:
                logger.warning("a middleware repeats the body of requests, and hides disconnects")
                return
            has_ended = not message.get("more_body")
        self._gone = True
        self.ring()

    @property
    def _over(self) -> bool:
        """Whether nothing more is to be written: the client has gone, or its run has ended."""
        return self._gone or (self._run is not None and self._run.ended)

    async def _follow(self, send: Send) -> None:
        """Writes what is new and waits for more, until a disconnect or the end of the stream."""
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
            if self._over:
                return
            if self._close_notice is not None:
                await self._write(send, b"".join(self._close_notice))
                return
            if not await self._was_rung():
                await self._write(send, self._body.keepalive)

    async def _write_events(self, send: Send) -> None:
        pieces = Pieces(self.session)
        while not self._over and self._position.seq < self.session.head.seq:
            records = await pieces.after(self._position)
            if not records:
                return
            epoch, last = self._position.epoch, records[-1]
            wanted = records if self._run is None else self._run.select(records)
            parts = self.encoder.events(epoch, wanted)
            del records, wanted
            for chunk in self.encoder.messages(parts):
                await self._write(send, chunk)
            self._position = Position(epoch, last.seq, last.tag)

    async def _was_rung(self) -> bool:
        """Waits for a ring; false after ``KEEPALIVE`` seconds without one."""
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
            # Some servers tell that the client has gone only when they are asked to send.
            self._gone = True


def _mark_unbounded(scope: dict[str, Any] | Any) -> None:
    """Marks the response as one without an end, so that the preset's server can shut down."""
    extension = (scope.get("extensions") or {}).get(SERVER)
    if extension is not None:
        extension["unbounded"] = True
