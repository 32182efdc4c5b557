"""A WebSocket protocol class for uvicorn: `uvicorn.Config(app, ws=AgentwsWebSocketProtocol)`.

It does for an ASGI application what uvicorn's own classes do, without permessage-deflate. An idle
connection holds little more than the slots of its protocol object. All that is written in one pass
of the event loop leaves in one system call.

What bounds the memory of one connection:

* The parser holds one message of at most `ws_max_size` bytes.
* The inbox holds `ws_max_queue` received messages, or one large one. Then reading is paused
  (backpressure).
* On the write side, `send` waits above `CORK_LIMIT` and the transport's high-water mark.

The ASGI extension `agentws.write` in `scope["extensions"]` bypasses `send` for applications that
build frames themselves, once for many connections:

* `write(frame: bytes) -> bool` takes one or more whole server frames. `False` means that the peer
  is a slow consumer (the frame is queued all the same) or that the connection is not open (it is
  not queued). In both cases call `await drain()` next.
* `frame(payload: bytes) -> bytes` builds such a frame from the UTF-8 of a text message.
* `drain()` returns once the peer has caught up. It raises `OSError` when the peer is gone.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from . import framing
from .addresses import ClientDisconnected
from .buffers import abort
from .framing import Close, CloseCode, FramingError, MessageParser
from .opening import CLOSED, CLOSING, CONNECTING, DENYING, OPEN, Message, OpeningProtocol, Phase
from .shared import ServerShared

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

# Frames parsed before other connections get their turn on the event loop.
FRAMES_PER_PASS = 256
# A message longer than this fills the inbox alone, so that the inbox is bounded in bytes too.
LARGE_MESSAGE = 16_384


class AgentwsWebSocketProtocol(OpeningProtocol):
    """One WebSocket connection, from its upgrade request to its end."""

    __slots__ = (
        "_disconnect",
        "_drainers",
        "_inbox",
        "_inbox_full",
        "_pending_pong",
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
        self._inbox: list[Message] | None = None
        self._inbox_full = False
        self._receiver: asyncio.Future[None] | None = None
        self._disconnect: Message | None = None
        self._drainers: list[asyncio.Future[None]] | None = None
        self._pending_pong: bytes | None = None
        self._ping: bytes | None = None
        self._ping_time = 0.0

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._shared.state.connections.add(self)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase is CLOSED:
            # A peer that was refused: it is read for a moment, so that it gets the reason.
            if not self._shared.budget.spend(self, len(data)):
                self._pause_reading()
            return
        if phase is CONNECTING and self._opening is None:
            self._start_handshake(data)
            return
        self._parser.feed(data)
        if phase is OPEN or phase is CLOSING:
            self._parse(len(data))
        else:
            # No client may send frames before the handshake is answered; those wait.
            self._pause_reading()

    def eof_received(self) -> None:
        """Let the transport close itself: a WebSocket is never half-closed."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.state.connections.discard(self)
        self._shared.budget.forget(self)
        super().connection_lost(exc)
        self._mark_closed(CloseCode.ABNORMAL, "")

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._pending_pong is not None:
            self._enqueue(framing.frame_pong(self._pending_pong))
            self._pending_pong = None
        self._wake_drainers()

    def shutdown(self) -> None:
        """The server stops: close both sides, and end soon even if the peer does not answer."""
        if self._phase is CONNECTING or self._phase is DENYING:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, b"the server is stopping")
        else:
            self._finish_close(CloseCode.SERVICE_RESTART, "")

    # Called by the application.

    def _start(self, scope: dict[str, Any]) -> None:
        scope["extensions"]["agentws.write"] = {
            "write": self._write,
            "drain": self._drain,
            "frame": framing.frame_text,
        }
        self._inbox = [{"type": "websocket.connect"}]
        task = self._shared.start_app(scope, self._receive, self._send)
        task.add_done_callback(self._app_done)

    def _opened(self) -> None:
        self._ping_time = self._shared.loop.time()
        self._shared.keepalive.add(self)
        self.parse()

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
        message = self._inbox.pop(0)
        if not self._inbox:
            self._inbox = None
            self._inbox_full = False
            if self._read_paused and self._phase is OPEN:
                self.parse()
        return message

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if self._write_paused and kind == "websocket.send":
            await self._drain()
        phase = self._phase
        if phase is OPEN and kind == "websocket.send":
            data = message.get("bytes")
            if data is None:
                self._enqueue(framing.frame_text(message["text"].encode()))
            else:
                self._enqueue(framing.frame_binary(data))
        elif phase is OPEN and kind == "websocket.close":
            self._start_close(message.get("code", 1000), message.get("reason") or "")
        elif self._opening is not None:
            (self._answer_handshake if phase is CONNECTING else self._deny)(self._opening, message)
        elif phase is CLOSED and kind != "websocket.close":
            raise ClientDisconnected
        elif phase is not CLOSED:
            raise RuntimeError(f"unexpected {kind!r} while the connection is {phase.name.lower()}")

    def _write(self, frame: bytes) -> bool:
        if self._phase is not OPEN:
            return False
        self._enqueue(frame)
        return not self._write_paused

    async def _drain(self) -> None:
        while self._write_paused and self._phase is OPEN:
            # A future for each waiter: cancelling one must not wake or cancel another.
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
            self._start_close(CloseCode.NORMAL if failure is None else CloseCode.INTERNAL_ERROR, "")

    # Frames from the peer.

    def parse(self) -> None:
        """Go on with what was received, if the peer may be read now."""
        if not self._shared.budget.is_spent(self):
            self._parse(0)

    def read_on(self) -> None:
        """Called by the budget when this connection may be read again."""
        if self._phase is OPEN or self._phase is CLOSING:
            self._parse(0)
        elif self._phase is CLOSED:
            self._resume_reading()

    def _parse(self, size: int) -> None:
        """Handle the frames received so far; `size` new bytes are counted with them.

        Pauses reading while the inbox is full (backpressure) or the budget is spent, and yields to
        other connections after `FRAMES_PER_PASS` frames.
        """
        frames, item, parser = 0, None, self._parser
        try:
            while parser.unparsed and not self._inbox_full and frames < FRAMES_PER_PASS:
                if self._phase is CLOSED or (item := parser.next()) is None:
                    break
                frames += 1
                opcode, payload = item
                self._handle_frame(opcode, payload)
        except FramingError as error:
            self._fail(error.code, error.reason)
            return
        if self._phase is CLOSED:
            return
        shared = self._shared
        if not shared.budget.spend(self, size + frames * shared.limits.frame_cost):
            self._pause_reading()
        elif not self._inbox_full and (item is None or not parser.unparsed):
            self._resume_reading()
        else:
            self._pause_reading()
            if not self._inbox_full:
                shared.parse_later(self)

    def _handle_frame(self, opcode: int, payload: str | bytes | Close) -> None:
        if opcode == framing.TEXT:
            self._deliver({"type": "websocket.receive", "text": payload}, len(payload))
        elif opcode == framing.BINARY:
            self._deliver({"type": "websocket.receive", "bytes": payload}, len(payload))
        elif isinstance(payload, Close):
            self._finish_close(payload.code, payload.reason)
        elif opcode == framing.CONTINUATION:
            # A fragment of a message that is not complete.
            pass
        elif opcode == framing.PONG:
            if payload == self._ping:
                self._ping = None
        elif self._write_paused:
            # RFC 6455 lets a server answer only the last ping, so a slow consumer costs one pong.
            self._pending_pong = cast(bytes, payload)
        elif self._phase is OPEN:
            self._enqueue(framing.frame_pong(cast(bytes, payload)))

    def _deliver(self, message: Message, size: int) -> None:
        if self._phase is not OPEN:
            return
        inbox = self._inbox
        if inbox is None:
            inbox = self._inbox = []
        inbox.append(message)
        self._inbox_full = size > LARGE_MESSAGE or len(inbox) >= self._shared.max_queue
        self._wake_receiver()

    def keep_alive(
        self, now: float, interval: float, timeout: float | None, payload: bytes
    ) -> None:
        """Called by the keepalive sweep: ping if it is due, drop a half-open connection."""
        if self._phase is not OPEN:
            # It was closed after the sweep began.
            return
        waited = now - self._ping_time
        if self._ping is None:
            if waited >= interval:
                self._ping, self._ping_time = payload, now
                self._enqueue(framing.frame_ping(payload))
        elif self._read_paused and not self._write_paused:
            # Its pong may wait behind messages that the application has not received yet.
            self._ping_time = now
        elif timeout is not None and waited >= timeout:
            self._mark_closed(CloseCode.ABNORMAL, "keepalive ping timeout")
            # close() would wait forever for a peer that never reads.
            abort(self._transport)

    # Closing.

    def _start_close(self, code: int, reason: str) -> None:
        """The application has closed: wait a moment for the peer's close frame."""
        self._enqueue(framing.frame_close(code, reason))
        self._leave_open(CLOSING, code, reason)
        self._inbox, self._inbox_full = None, False
        self._shared.closing.start(self)
        if self._read_paused:
            self.parse()

    def _finish_close(self, code: int, reason: str) -> None:
        """The peer has closed, or the server is stopping."""
        if self._phase is OPEN:
            self._enqueue(framing.frame_close(code))
        self._mark_closed(code, reason)
        self._close_transport()

    def _fail(self, code: CloseCode, reason: str) -> None:
        """The peer broke the protocol: send the close code, then read and ignore for a moment.

        A close with unread bytes would reset the connection, and the peer would not get the code.
        """
        if self._phase is OPEN:
            self._enqueue(framing.frame_close(code, reason))
        self._mark_closed(code, reason)
        if not self._transport.can_write_eof():
            self._close_transport()
            return
        self.flush()
        self._resume_reading()
        self._transport.write_eof()
        self._shared.closing.start(self)

    def _mark_closed(self, code: int, reason: str) -> None:
        if self._phase is not CLOSED:
            self._leave_open(CLOSED, code, reason)

    def _leave_open(self, phase: Phase, code: int, reason: str) -> None:
        self._phase = phase
        self._shared.keepalive.discard(self)
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
