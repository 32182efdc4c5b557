"""One ASGI WebSocket connection, spoken to directly: no sockets, no threads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

Message = MutableMapping[str, Any]

WITHIN: Final = 10.0
"""Seconds that anything in a test may take, unless it says otherwise."""

_ENDING: Final = 60.0
"""Seconds that an app may take to end: one that is cancelled still gives its runs their time."""


class Refused(Exception):
    """The handshake was refused; ``status`` is the HTTP status (403 for a bare close)."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


class Closed(Exception):
    """The connection has ended; 1006 when nobody said why."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


async def end(task: asyncio.Task[Any]) -> None:
    """Cancels a task and returns when it is over, however it ended: a test leaves none behind."""
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=_ENDING)
    assert done, f"{task.get_name()} did not end within {_ENDING} s of being cancelled"
    if not task.cancelled():
        # Looked at, or the loop would report it; what the test fails with is more to the point.
        task.exception()


class Line:
    """The peer's end of one connection to ``app``.

    The server in between behaves as real ones do: what the app sends waits in a buffer without end
    unless the peer was told not to read, a send to a peer that is gone raises ``OSError``, and the
    app learns of the end by one ``websocket.disconnect``. ``direct``: it offers ``agentws.write``,
    as the preset of :mod:`agentws.server` does.
    """

    def __init__(self, app: Any, scope: Mapping[str, Any], *, direct: bool = False) -> None:
        self._app = app
        self._scope = {**scope, "extensions": {**scope["extensions"]}}
        if direct:
            offered = {"write": self._write, "drain": self._drain, "frame": bytes}
            self._scope["extensions"]["agentws.write"] = offered
        self._held: list[str] = []
        self._for_app: deque[Message] = deque([{"type": "websocket.connect"}])
        self._messages: deque[str] = deque()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._refusal: Refused | None = None
        self.accepted = False
        self.subprotocol: str | None = None
        self.gone = False
        """The peer has left."""
        self.reading = True
        self.closed: Closed | None = None
        """How the app ended the connection."""
        self.blocked = 0
        """Sends of the app that wait for the peer to read."""

    # The peer

    async def open(self, *, within: float = WITHIN) -> None:
        """Returns when the app has accepted. Raises Refused, and AssertionError after ``within``.

        An app that has not answered by then is ended.
        """
        self._task = asyncio.get_running_loop().create_task(self._run(), name="an ASGI app")
        try:
            async with asyncio.timeout(within) as deadline:
                await self._until(lambda: self.accepted or self._refusal is not None)
        except TimeoutError:
            if not deadline.expired():
                raise
            await end(self._task)
            raise AssertionError(f"neither accepted nor refused within {within} s") from None
        except asyncio.CancelledError:
            await end(self._task)
            raise
        if self._refusal is not None:
            raise self._refusal

    def send(self, message: Message) -> None:
        """Gives the app a message. Raises Closed."""
        self._check_open()
        self._for_app.append(message)
        self._changed.set()

    async def receive(self) -> str:
        """The next text message. Raises Closed, after everything that was said before."""
        await self._until(lambda: bool(self._messages) or self._over)
        if self._messages:
            return self._messages.popleft()
        self._check_open()
        raise Closed(1006)

    def waiting(self) -> list[str]:
        """Takes what has come and was not read."""
        messages = list(self._messages)
        self._messages.clear()
        return messages

    def leave(self, code: int) -> None:
        """The peer is gone; with 1006 it is as if the cable had been pulled."""
        if self.gone:
            return
        self.gone = True
        if self.closed is None:
            self._for_app.append({"type": "websocket.disconnect", "code": code, "reason": ""})
        self._changed.set()

    def read(self, reading: bool) -> None:
        """Whether the peer takes what it is sent; while it does not, the app's sends wait."""
        self.reading = reading
        if reading:
            self._messages += self._held
            self._held.clear()
        self._changed.set()

    async def wait_closed(self, *, within: float = WITHIN) -> None:
        """Returns when the app is done with this connection. Raises what the app raised.

        Raises AssertionError when it is not done ``within`` so many seconds; then it is ended.
        """
        if self._task is None:
            return
        done, _ = await asyncio.wait([self._task], timeout=within)
        if not done:
            await end(self._task)
            raise AssertionError(f"the app did not end within {within} s of the connection")
        self._task.result()

    @property
    def _over(self) -> bool:
        ended = self._task is not None and self._task.done()
        return self.gone or self.closed is not None or ended

    def _check_open(self) -> None:
        if self.gone:
            raise Closed(1006)
        if self.closed is not None:
            raise self.closed
        if self._task is not None and self._task.done():
            self._task.result()
            raise Closed(1006)

    async def _until(self, true: Callable[[], bool]) -> None:
        while not (true() or (self._task is not None and self._task.done())):
            self._changed.clear()
            await self._changed.wait()
        if not true() and self._task is not None:
            self._task.result()
            raise Closed(1006, "the app returned")

    # The server

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except OSError:
            # What a send to a peer that has left raises; servers expect it.
            if not self.gone:
                raise
        finally:
            self._changed.set()

    async def _receive(self) -> Message:
        while not self._for_app:
            self._changed.clear()
            await self._changed.wait()
        return self._for_app.popleft()

    async def _send(self, message: Message) -> None:
        await self._until_read()
        if self.gone:
            raise BrokenPipeError("the peer is gone")
        if self.closed is not None or self._refusal is not None:
            raise RuntimeError(f"{message['type']} after the connection was closed")
        self._take(message)
        self._changed.set()

    async def _until_read(self) -> None:
        self.blocked += 1
        try:
            while not (self.reading or self.gone):
                self._changed.clear()
                await self._changed.wait()
        finally:
            self.blocked -= 1

    def _write(self, frame: bytes) -> bool:
        if self.gone or self.closed is not None or not self.accepted:
            return False
        if self.reading:
            self._messages.append(frame.decode())
            self._changed.set()
        else:
            self._held.append(frame.decode())
        return self.reading

    async def _drain(self) -> None:
        await self._until_read()
        if self.gone or self.closed is not None:
            raise BrokenPipeError("the peer is gone")

    def _take(self, message: Message) -> None:
        match message["type"]:
            case "websocket.accept" if not self.accepted:
                self.subprotocol = message.get("subprotocol")
                self.accepted = True
            case "websocket.send" if self.accepted:
                assert message.get("bytes") is None, "the app sent a binary message"
                self._messages.append(message["text"])
            case "websocket.close":
                self._close(message.get("code", 1000), message.get("reason") or "")
            case "websocket.http.response.start" if not self.accepted:
                self._started = message["status"]
            case "websocket.http.response.body" if not self.accepted:
                self._refusal = Refused(self._started, message.get("body", b""))
            case other:
                raise AssertionError(f"the app sent {other} where it may not")

    def _close(self, code: int, reason: str) -> None:
        if self.accepted:
            self.closed = Closed(code, reason)
        else:
            self._refusal = Refused(403)
        self._for_app.append({"type": "websocket.disconnect", "code": code, "reason": reason})
