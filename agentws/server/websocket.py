"""A lean WebSocket protocol class for uvicorn: `uvicorn.Config(app, ws=AgentwsWebSocketProtocol)`.

It does what uvicorn's own classes do for an ASGI application, without permessage-deflate, and holds
per idle connection little more than its own slots. What it writes in one pass of the loop leaves in
one system call.

The ASGI extension `agentws.write` in `scope["extensions"]` goes past `send` for applications that
frame their messages themselves, once for many connections:

* `write(frame: bytes) -> bool` takes one or more whole server frames. It
  returns `False` when the peer is behind (the frame is queued all the same), or when the connection
  is not open (it is not); either way `await drain()` comes next.
* `frame(payload: bytes) -> bytes` makes such a frame of a text message's UTF-8.
* `drain()` returns once the peer has caught up, and raises `OSError` when it is gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.utils import ClientDisconnected

from . import framing
from .framing import Close, CloseCode, FramingError, MessageParser
from .opening import CLOSING, CONNECTING, DENYING, GONE, OPEN, Message, OpeningProtocol, Phase
from .shared import ServerShared

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

CLOSE_TIMEOUT = 10.0  # for the peer's answer to our close frame
LINGER_TIMEOUT = 2.0  # for a peer that broke the protocol to read why
# Frames parsed before other connections get their turn.
FRAMES_PER_PASS = 256
# A message this long fills the inbox by itself, so that the inbox is bounded in bytes too.
LARGE_MESSAGE = 16_384


class AgentwsWebSocketProtocol(OpeningProtocol):
    """One WebSocket connection, from the upgrade request to its end."""

    __slots__ = (
        "_disconnect",
        "_drainers",
        "_inbox",
        "_inbox_full",
        "_late_pong",
        "_parser",
        "_ping",
        "_ping_time",
        "_receiver",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(ServerShared.of(config, server_state, app_state, _loop))
        self._parser = MessageParser(self._shared.max_size)
        self._inbox: deque[Message] | None = None
        self._inbox_full = False
        self._receiver: asyncio.Future[None] | None = None
        self._disconnect: Message | None = None
        self._drainers: list[asyncio.Future[None]] | None = None
        self._late_pong: bytes | None = None
        self._ping: bytes | None = None
        self._ping_time = 0.0

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._shared.state.connections.add(self)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase is GONE:
            return
        if phase is CONNECTING and self._opening is None:
            self._begin(data)
            return
        self._parser.feed(data)
        if phase is OPEN or phase is CLOSING:
            self._parse()
        else:
            # No client may speak before the handshake is answered; one that does waits.
            self._pause_reading()

    def eof_received(self) -> None:
        """The transport closes itself: WebSocket has no half-open state."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.state.connections.discard(self)
        super().connection_lost(exc)
        self._gone(CloseCode.ABNORMAL, "")

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._late_pong is not None:
            self._put(framing.frame_pong(self._late_pong))
            self._late_pong = None
        self._wake_drainers()

    def shutdown(self) -> None:
        """The server is stopping: tell both sides, and end soon whatever the peer does."""
        if self._phase is CONNECTING or self._phase is DENYING:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, b"the server is stopping")
        else:
            self._end(CloseCode.SERVICE_RESTART, "")

    # The application's side.

    def _start(self, scope: dict[str, Any]) -> None:
        scope["extensions"]["agentws.write"] = {
            "write": self._write,
            "drain": self._drain,
            "frame": framing.frame_text,
        }
        self._inbox = deque([{"type": "websocket.connect"}])
        task = self._shared.start_app(scope, self._receive, self._send)
        task.add_done_callback(self._app_done)

    def _opened(self) -> None:
        self._ping_time = self._shared.loop.time()
        self._shared.opened(self)
        self._parse()

    async def _receive(self) -> Message:
        while not self._inbox:
            if self._disconnect is not None:
                return self._disconnect
            if self._receiver is not None:
                raise RuntimeError("receive() is already being awaited")
            self._receiver = self._shared.loop.create_future()
            try:
                await self._receiver
            finally:
                self._receiver = None
        message = self._inbox.popleft()
        if not self._inbox:
            self._inbox = None
            self._inbox_full = False
            if self._read_paused and self._phase is OPEN:
                self._parse()
        return message

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if self._write_paused and kind == "websocket.send":
            await self._drain()
        phase = self._phase
        if phase is OPEN and kind == "websocket.send":
            data = message.get("bytes")
            if data is None:
                self._put(framing.frame_text(message["text"].encode()))
            else:
                self._put(framing.frame_binary(data))
        elif phase is OPEN and kind == "websocket.close":
            self._close(message.get("code", 1000), message.get("reason") or "")
        elif self._opening is not None:
            (self._answer if phase is CONNECTING else self._deny)(self._opening, message)
        elif phase is GONE and kind != "websocket.close":
            raise ClientDisconnected
        elif phase is not GONE:
            raise RuntimeError(f"unexpected {kind!r} while the connection is {phase.name.lower()}")

    def _write(self, frame: bytes) -> bool:
        if self._phase is not OPEN:
            return False
        self._put(frame)
        return not self._write_paused

    async def _drain(self) -> None:
        while self._write_paused and self._phase is OPEN:
            # Each waiter its own future: cancelling one must not wake or cancel another.
            waiter = self._shared.loop.create_future()
            if self._drainers is None:
                self._drainers = []
            self._drainers.append(waiter)
            await waiter
        if self._phase is not OPEN:
            raise ClientDisconnected

    def _app_done(self, task: asyncio.Task[None]) -> None:
        self._shared.state.tasks.discard(task)
        failure = _failure(task)
        if failure is not None and not isinstance(failure, ClientDisconnected):
            self._shared.logger.error("Exception in ASGI application\n", exc_info=failure)
        if self._opening is not None:
            if failure is None:
                self._shared.logger.error("ASGI callable returned without completing handshake.")
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, b"Internal Server Error")
        elif self._phase is OPEN:
            self._close(CloseCode.NORMAL if failure is None else CloseCode.INTERNAL_ERROR, "")

    # What the peer says.

    def _parse(self) -> None:
        """Take what can be taken; stop at a full inbox, and let others run after many frames."""
        parser = self._parser
        try:
            for _ in range(FRAMES_PER_PASS):
                if self._phase is GONE:
                    return
                if self._inbox_full:
                    self._pause_reading()
                    return
                item = parser.next()
                if item is None:
                    self._resume_reading()
                    return
                self._take(*item)
        except FramingError as error:
            self._fail(error.code, error.reason)
            return
        self._pause_reading()
        self._shared.loop.call_soon(self._parse)

    def _take(self, opcode: int, payload: str | bytes | Close) -> None:
        if opcode == framing.TEXT:
            self._deliver({"type": "websocket.receive", "text": payload}, len(payload))
        elif opcode == framing.BINARY:
            self._deliver({"type": "websocket.receive", "bytes": payload}, len(payload))
        elif isinstance(payload, Close):
            self._end(payload.code, payload.reason)
        elif opcode == framing.PONG:
            if payload == self._ping:
                self._ping = None
        elif self._write_paused:
            # Only the last ping needs an answer; a peer that never reads costs one.
            self._late_pong = cast(bytes, payload)
        elif self._phase is OPEN:
            self._put(framing.frame_pong(cast(bytes, payload)))

    def _deliver(self, message: Message, size: int) -> None:
        if self._phase is not OPEN:
            return
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.append(message)
        self._inbox_full = size > LARGE_MESSAGE or len(self._inbox) >= self._shared.max_queue
        self._wake_receiver()

    def keep_alive(
        self, now: float, interval: float, timeout: float | None, payload: bytes
    ) -> None:
        """Called by the sweep: ping when it is time, give up on a peer that does not answer."""
        if self._phase is not OPEN:
            # It has left since the sweep began.
            return
        waited = now - self._ping_time
        if self._ping is None:
            if waited >= interval:
                self._ping, self._ping_time = payload, now
                self._put(framing.frame_ping(payload))
        elif self._read_paused and not self._write_paused:
            # Its pong may wait behind messages that the application has not taken: not its fault.
            self._ping_time = now
        elif timeout is not None and waited >= timeout:
            self._gone(CloseCode.ABNORMAL, "keepalive ping timeout")
            # close() would wait for ever for a peer that never reads.
            self._transport.abort()

    # The end.

    def _close(self, code: int, reason: str) -> None:
        """The application has closed: wait a while for the peer's close frame."""
        self._put(framing.frame_close(code, reason))
        self._leave_open(CLOSING, code, reason)
        self._inbox, self._inbox_full = None, False
        self._abort_after(CLOSE_TIMEOUT)
        if self._read_paused:
            self._parse()

    def _end(self, code: int, reason: str) -> None:
        """The peer has closed, or the server is stopping."""
        if self._phase is OPEN:
            self._put(framing.frame_close(code))
        self._gone(code, reason)
        self._hang_up()

    def _fail(self, code: CloseCode, reason: str) -> None:
        """The peer broke the protocol: say so, and read on unheeded for a moment.

        Closing with bytes unread would reset the connection, and the peer would never see the code.
        """
        if self._phase is OPEN:
            self._put(framing.frame_close(code, reason))
        self._gone(code, reason)
        if not self._transport.can_write_eof():
            self._hang_up()
            return
        self.flush()
        self._resume_reading()
        self._transport.write_eof()
        self._abort_after(LINGER_TIMEOUT)

    def _gone(self, code: int, reason: str) -> None:
        if self._phase is not GONE:
            self._leave_open(GONE, code, reason)

    def _leave_open(self, phase: Phase, code: int, reason: str) -> None:
        self._phase = phase
        self._shared.closed(self)
        if self._disconnect is None:
            self._disconnect = {"type": "websocket.disconnect", "code": int(code), "reason": reason}
        self._wake_receiver()
        self._wake_drainers()

    def _wake_receiver(self) -> None:
        if self._receiver is not None and not self._receiver.done():
            self._receiver.set_result(None)

    def _wake_drainers(self) -> None:
        drainers, self._drainers = self._drainers, None
        for waiter in drainers or ():
            if not waiter.done():
                waiter.set_result(None)


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()
