"""In-process clients: they call an ASGI app directly, so a test needs no port and no thread.

::

    async with running(app), connect(app, "/ws/chat") as client:
        await client.send({"type": "send", "id": "m1", "content": "Hello"})
        await client.until(lambda frame: kind(frame) == "RUN_FINISHED")
        client.drop()                     # the connection is lost
        await client.reconnect()          # the same session, from the last position

Everything that waits has a deadline. After it, an AssertionError says what was received instead.
"""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from ..protocol.frames import BEARER, NATIVE
from .line import WITHIN, Closed, Line, Message, Refused, end

__all__ = ["Client", "Closed", "Frame", "Refused", "connect", "kind", "running"]

Frame = dict[str, Any]
"""One decoded frame, of any wire."""

_SHOWN: Final = 5
"""The number of earlier frames that a failure shows."""

TERMINAL: Final = frozenset({"RUN_FINISHED", "RUN_ERROR"})


def kind(frame: Frame) -> str:
    """The ``type`` of the event in an event frame; the frame's own ``type`` otherwise."""
    event = frame.get("event")
    return str(event["type"] if isinstance(event, dict) else frame["type"])


class Client:
    """One client of one session, over any number of connections.

    ``frames`` are all frames that it has read; ``position`` is the last position it has read, from
    which :meth:`reconnect` resumes. ``topics`` has those of topics. ``lines`` are its connections;
    the last one is current.
    """

    def __init__(
        self,
        app: Any,
        url: str = "/ws/chat",
        *,
        native: bool = True,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        subprotocols: Sequence[str] | None = None,
        address: str = "127.0.0.1",
        host: str | None = "testserver",
        direct: bool = False,
    ) -> None:
        parts = urlsplit(url)
        self.app = app
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.native = native
        self.frames: list[Frame] = []
        self.lines: list[Line] = []
        self.topics: dict[str, str] = {}
        self.position: str | None = self.query.pop("after", None)
        self.session: str | None = self.query.pop("session", None)
        self._path = parts.path
        self._token = token
        self._subprotocols = subprotocols
        self._address = address
        self._headers = {**({} if host is None else {"host": host}), **(headers or {})}
        self._direct = direct
        self._unread: deque[Frame] = deque()

    def __repr__(self) -> str:
        return f"<Client {self.session} at {self.position} frames={len(self.frames)}>"

    @property
    def line(self) -> Line:
        """The current connection."""
        return self.lines[-1]

    @property
    def closed(self) -> Closed | None:
        """How the server closed the current connection; ``None`` while it is open."""
        return self.line.closed

    # Connecting

    async def open(self) -> Self:
        """Opens a connection; raises Refused."""
        line = Line(self.app, self._scope(), direct=self._direct)
        self.lines.append(line)
        self._unread.clear()
        await line.open()
        return self

    async def reconnect(self, app: Any = None) -> Self:
        """A new connection to the same session, after the last position; to ``app`` if given."""
        if self.lines:
            self.drop()
        self.app = app or self.app
        return await self.open()

    def _scope(self) -> Message:
        query = dict(self.query)
        if self.session is not None:
            query["session"] = self.session
        if self.position is not None:
            query["after"] = self.position
        return {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": self._path,
            "raw_path": self._path.encode(),
            "root_path": "",
            "query_string": urlencode(query).encode(),
            "headers": [
                (name.lower().encode(), value.encode("latin-1"))
                for name, value in self._headers.items()
            ],
            "client": (self._address, 50_000),
            "server": ("testserver", 80),
            "subprotocols": self._offered(),
            "extensions": {"websocket.http.response": {}},
            "state": {},
        }

    def _offered(self) -> list[str]:
        if self._subprotocols is not None:
            return list(self._subprotocols)
        offered = [NATIVE] if self.native else []
        if self._token is not None:
            offered.append(BEARER + base64.urlsafe_b64encode(self._token.encode()).decode())
        return offered

    # Sending

    async def send(self, frame: str | Mapping[str, Any] | bytes) -> None:
        """Sends a frame: text as it is, a mapping as JSON, bytes as a binary message.

        Raises Closed.
        """
        match frame:
            case str():
                self.line.send({"type": "websocket.receive", "text": frame})
            case bytes():
                self.line.send({"type": "websocket.receive", "bytes": frame})
            case _:
                text = msgspec.json.encode(frame).decode()
                self.line.send({"type": "websocket.receive", "text": text})

    async def say(self, content: str, id: str, **members: Any) -> Frame:
        """Sends a user message and returns the reply: ``accepted`` or ``error``."""
        return await self.ask({"type": "send", "id": id, "content": content, **members})

    async def ask(self, frame: Mapping[str, Any]) -> Frame:
        """Sends a frame that has an ``id`` and returns the reply."""
        await self.send(frame)
        return await self.until(lambda one: one.get("reply") == frame["id"])

    # Receiving

    async def receive(self, *, within: float = WITHIN) -> Frame:
        """The next frame. Raises Closed."""
        async with self._deadline(within, "no frame", len(self.frames) - _SHOWN):
            return await self._next()

    async def _next(self) -> Frame:
        while not self._unread:
            self._unread += _frames(await self.line.receive())
        return self._take(self._unread.popleft())

    @asynccontextmanager
    async def _deadline(self, within: float, missing: str, start: int) -> AsyncIterator[None]:
        """Turns a timeout into an AssertionError: what was missing, and the frames since."""
        try:
            async with asyncio.timeout(within) as deadline:
                yield
        except TimeoutError:
            if not deadline.expired():
                raise
            came = self.frames[max(start, 0) :]
            raise AssertionError(f"{missing} within {within} s; received: {came}") from None

    def _take(self, frame: Frame) -> Frame:
        self.frames.append(frame)
        if "topic" in frame and "event" in frame:
            self.topics[frame["topic"]] = frame["id"]
        elif "event" in frame:
            self.position = frame["id"]
        elif frame["type"] == "subscribed":
            self.topics[frame["topic"]] = frame["after"]
        elif frame["type"] == "welcome":
            self.session = frame["session"]
        elif "metadata" in frame and not self.native:
            self.session = frame["metadata"].get("session_id", self.session)
            self.position = frame["metadata"].get("position", self.position)
        return frame

    async def until(
        self, wanted: Callable[[Frame], bool] | str, *, within: float = WITHIN
    ) -> Frame:
        """Reads frames until one is ``wanted`` (a predicate, or a kind), and returns that one."""
        fits = wanted if callable(wanted) else lambda frame: kind(frame) == wanted
        missing = "none that was wanted" if callable(wanted) else f"no {wanted}"
        async with self._deadline(within, missing, len(self.frames)):
            while not fits(frame := await self._next()):
                pass
        return frame

    async def answer(self, *, within: float = WITHIN) -> str:
        """Reads until a run ends, and returns the text of the answer."""
        start = len(self.frames)
        await self.until(lambda frame: kind(frame) in TERMINAL, within=within)
        deltas = (frame["event"] for frame in self.frames[start:] if "event" in frame)
        return "".join(one["delta"] for one in deltas if one["type"] == "TEXT_MESSAGE_CONTENT")

    async def settle(self) -> list[Frame]:
        """The frames that arrive while the app's tasks run, without waiting for time to pass."""
        start = len(self.frames)
        for _ in range(50):
            await asyncio.sleep(0)
        self.take_waiting()
        return self.frames[start:]

    def take_waiting(self) -> None:
        """Reads what was received already, without waiting."""
        for text in self.line.waiting():
            self._unread += _frames(text)
        while self._unread:
            self._take(self._unread.popleft())

    def events(self) -> list[dict[str, Any]]:
        """The events of the session in every event frame read so far."""
        return [one["event"] for one in self.frames if "event" in one and "topic" not in one]

    # Topics

    async def subscribe(self, topic: str, *, after: str | None = None, id: str = "sub") -> Frame:
        """Subscribes to ``topic`` and returns the reply; :attr:`topics` has the position then."""
        frame = {"type": "subscribe", "id": id, "topic": topic}
        return await self.ask(frame if after is None else {**frame, "after": after})

    def posts(self, topic: str) -> list[str]:
        """The content of every post of ``topic`` read so far."""
        frames = (one for one in self.frames if one.get("topic") == topic and "event" in one)
        return [one["event"]["content"] for one in frames]

    # Failing

    def pause(self) -> None:
        """Stops reading, as a slow consumer: the app's next sends block."""
        self.line.read(False)

    def resume(self) -> None:
        """Reads again after :meth:`pause`."""
        self.line.read(True)

    def drop(self) -> None:
        """Loses the connection (1006): frames that were not read are lost."""
        self.line.waiting()
        self._unread.clear()
        self.line.leave(1006)

    async def wait_closed(self, *, within: float = WITHIN) -> Closed:
        """Reads until the server closes the connection; returns code and reason."""
        async with self._deadline(within, "no close", len(self.frames)):
            while True:
                try:
                    await self._next()
                except Closed as closed:
                    return closed
        raise AssertionError

    async def aclose(self) -> None:
        """Closes the connection (1000) and waits for the app to end. Raises what the app raised."""
        if self.lines:
            self.line.leave(1000)
        for line in self.lines:
            await line.wait_closed()


def _frames(text: str) -> list[Frame]:
    message = msgspec.json.decode(text)
    return message if isinstance(message, list) else [message]


@asynccontextmanager
async def connect(app: Any, url: str = "/ws/chat", **options: Any) -> AsyncIterator[Client]:
    """A connected client; ``options`` are those of :class:`Client`. Raises Refused."""
    client = Client(app, url, **options)
    await client.open()
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def running(app: Any, *, within: float = WITHIN) -> AsyncIterator[dict[str, Any]]:
    """Runs the lifespan of ``app`` around the block; gives the lifespan's state.

    The app has ended when this returns, however the block ends. Raises AssertionError when startup
    or shutdown fails, or takes longer than ``within`` seconds.
    """
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    state: dict[str, Any] = {}
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    lifespan = app(scope, to_app.get, from_app.put)
    task = asyncio.get_running_loop().create_task(lifespan, name="the app's lifespan")

    async def step(name: str) -> None:
        to_app.put_nowait({"type": f"lifespan.{name}"})
        answer = asyncio.ensure_future(from_app.get())
        await asyncio.wait([task, answer], timeout=within, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            assert task.done(), f"the app's {name} took more than {within} s"
            task.result()
            raise AssertionError(f"the app returned before its {name} was complete")
        sent = answer.result()
        assert sent["type"] == f"lifespan.{name}.complete", sent.get("message", sent["type"])

    try:
        await step("startup")
        yield state
        await step("shutdown")
        await asyncio.wait([task], timeout=within)
        assert task.done(), f"the app did not return within {within} s of its shutdown"
        task.result()
    finally:
        await end(task)
