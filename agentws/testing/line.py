"""One ASGI WebSocket connection in process: no sockets, no threads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

Message = MutableMapping[str, Any]

WITHIN: Final = 10.0
"""The default timeout of everything that waits in a test, in seconds."""

_ENDING: Final = 60.0
"""Seconds that a cancelled app may take to end: it still drains its runs."""


class Refused(Exception):
    """The handshake was refused; ``status`` is the HTTP status (403 for a bare close)."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


class Closed(Exception):
    """The connection was closed; ``code`` is 1006 when it was lost."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


async def end(task: asyncio.Task[Any]) -> None:
    """Cancels a task and waits for its end, so that no test leaves a task behind."""
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=_ENDING)
    assert done, f"{task.get_name()} did not end within {_ENDING} s of being cancelled"
    if not task.cancelled():
        # Retrieved, so that the loop does not log it: the test fails with a better error.
        task.exception()


class Line:
    """The client's end of one connection to ``app``, and the ASGI server in between.

    The server behaves as real ones do. What the app sends is buffered without limit while the
    client reads, and blocks while it does not. A send after the client has left raises
    ``OSError``, and the app gets one ``websocket.disconnect``. ``direct``: the server offers
    ``agentws.write``, as the preset of :mod:`agentws.server` does.
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
        """Whether the client has left."""
        self.reading = True
        self.closed: Closed | None = None
        """How the app closed the connection; ``None`` while it is open."""
        self.blocked = 0
        """The number of the app's sends that wait for the client to read."""

    # The client

    async def open(self, *, within: float = WITHIN) -> None:
        """Returns when the app has accepted the handshake.

        Raises Refused; AssertionError when the app has not answered ``within`` so many seconds,
        then it is cancelled.
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
        """Sends a message to the app. Raises Closed."""
        self._check_open()
        self._for_app.append(message)
        self._changed.set()

    async def receive(self) -> str:
        """The next text message. Raises Closed, once all messages before it were received."""
        await self._until(lambda: bool(self._messages) or self._ended)
        if self._messages:
            return self._messages.popleft()
        self._check_open()
        raise Closed(1006)

    def waiting(self) -> list[str]:
        """Removes and returns the messages that were received and not read yet."""
        messages = list(self._messages)
        self._messages.clear()
        return messages

    def leave(self, code: int) -> None:
        """The client leaves; with 1006 the connection is lost without a close handshake."""
        if self.gone:
            return
        self.gone = True
        if self.closed is None:
            self._for_app.append({"type": "websocket.disconnect", "code": code, "reason": ""})
        self._changed.set()

    def read(self, reading: bool) -> None:
        """Sets whether the client reads; while it does not, the app's sends block."""
        self.reading = reading
        if reading:
            self._messages += self._held
            self._held.clear()
        self._changed.set()

    async def wait_closed(self, *, within: float = WITHIN) -> None:
        """Returns when the app has ended this connection. Raises what the app raised.

        After ``within`` seconds it is cancelled, and AssertionError is raised.
        """
        if self._task is None:
            return
        done, _ = await asyncio.wait([self._task], timeout=within)
        if not done:
            await end(self._task)
            raise AssertionError(f"the app did not end within {within} s of the connection")
        self._task.result()

    @property
    def _ended(self) -> bool:
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
            # Raised by a send after the client has left; ASGI servers expect it.
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
        self._deliver(message)
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

    def _deliver(self, message: Message) -> None:
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
                raise AssertionError(f"the app sent {other} in a state that does not allow it")

    def _close(self, code: int, reason: str) -> None:
        if self.accepted:
            self.closed = Closed(code, reason)
        else:
            self._refusal = Refused(403)
        self._for_app.append({"type": "websocket.disconnect", "code": code, "reason": reason})
