"""Calls an app in process: plain requests, and SSE streams that can be paused and dropped."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import httpx2
import msgspec
from starlette.applications import Starlette

from agentws import (
    Agent,
    AgentGateway,
    BearerKeys,
    Limits,
    LocalBus,
    MemoryStore,
    RunContext,
    mount_agent_gateway,
)
from agentws.testing.connect import running
from agentws.testing.faults import LossyBus

SESSION = "ses_0123456789abcdef"
POLL = {"accept": "application/json"}
WITHIN = 10.0
POLLS = 0.02
"""The poll interval, in seconds, of nodes whose bus loses every ring."""
KEY = "the-admin-key"
KEYS = BearerKeys({"ann-key": "ann", "bob-key": "bob"})
ANN = {"authorization": "Bearer ann-key"}
BOB = {"authorization": "Bearer bob-key"}


class Echo(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        for word in ctx.text.split():
            yield word + " "


def client(app: Any, **headers: str) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app)
    return httpx2.AsyncClient(transport=transport, base_url="http://testserver", headers=headers)


class Nodes:
    """How many gateways :func:`served` runs. Several gateways share a store, have a bus that loses
    every ring, and get the requests in turn. Only the latency may differ.
    """

    count = 1


@asynccontextmanager
async def served(
    agent: Any = Echo,
    *,
    headers: Mapping[str, str] | None = None,
    alone: bool = False,
    **options: Any,
) -> AsyncIterator[tuple[AgentGateway, httpx2.AsyncClient]]:
    """A running gateway and a client; with several :class:`Nodes` the client calls all of them.

    ``alone``: always one gateway, for tests about what one node counts, keeps in memory, or
    answers at once.
    """
    count = 1 if alone else Nodes.count
    if count > 1:
        limits = options.get("limits") or Limits()
        options["limits"] = msgspec.structs.replace(
            limits, poll_interval=POLLS, idle_poll_interval=POLLS
        )
        options.setdefault("store", MemoryStore())
        options["bus"] = LossyBus(LocalBus(), drop=1.0)
    gateways = [mount_agent_gateway(Starlette(), agent, **options) for _ in range(count)]
    async with AsyncExitStack() as stack:
        for gateway in gateways:
            await stack.enter_async_context(running(gateway))
        app = in_turn(gateways) if count > 1 else gateways[0]
        http = client(app, **(headers or {}))
        yield gateways[0], await stack.enter_async_context(http)


def in_turn(apps: Sequence[Any]) -> Any:
    """An app that passes each request to the next app (round robin)."""
    turns = itertools.cycle(apps)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        # A test that polls in a loop without waiting would starve the nodes' own polls.
        await asyncio.sleep(0)
        await next(turns)(scope, receive, send)

    return app


async def say(
    http: httpx2.AsyncClient, content: str, id: str = "m1", *, session: str = SESSION
) -> httpx2.Response:
    body = {"id": id, "content": content}
    return await http.post(f"/sessions/{session}/messages", json=body)


async def answered(http: httpx2.AsyncClient, *, session: str = SESSION) -> list[dict[str, Any]]:
    """Waits until every node knows that no run is active; returns the conversation."""
    path = f"/sessions/{session}"
    async with asyncio.timeout(WITHIN):
        while True:
            states = [(await http.get(path)).json() for _ in range(Nodes.count)]
            if states[-1]["running"]:
                query = {"after": states[-1]["position"], "wait": WITHIN}
                await http.get(f"{path}/events", params=query, headers=POLL)
            elif len({one["position"] for one in states}) == 1:
                break
            else:
                # A node without a bus polls. Asking it all the time would exceed the read rate.
                await asyncio.sleep(0.02)
    page = await http.get(f"/sessions/{session}/messages")
    messages: list[dict[str, Any]] = page.json()["messages"]
    return messages


class Sent(NamedTuple):
    """One SSE event: its name, the ``id:`` line if any, and the decoded data."""

    name: str
    id: str | None
    data: Any

    @property
    def type(self) -> str:
        """The type of the event in the frame, or of the frame."""
        return str(self.data.get("event", self.data)["type"])


class Stream:
    """A client of an SSE stream; ``raw`` is every byte received."""

    def __init__(self, app: Any, url: str, **headers: str) -> None:
        parts = urlsplit(url)
        given = {"host": "testserver", "accept": "text/event-stream", **headers}
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "root_path": "",
            "query_string": parts.query.encode(),
            "headers": [
                (name.replace("_", "-").encode(), value.encode()) for name, value in given.items()
            ],
            "client": ("127.0.0.1", 50_000),
            "server": ("testserver", 80),
            "extensions": {},
        }
        self.raw = b""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.last_id: str | None = None
        self.sent: list[Sent] = []
        self._app = app
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._asked = False
        self._begun = asyncio.Event()
        self._text = b""
        self._reading = asyncio.Event()
        self._reading.set()
        self.task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self.task = asyncio.get_running_loop().create_task(self._run())
        self.task.add_done_callback(lambda task: self._begun.set())
        await self._begun.wait()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.drop()
        async with asyncio.timeout(WITHIN):
            await self.task

    async def _run(self) -> None:
        await self._app(self.scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._begun.set()
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        if not self._gone.is_set():
            await self._reading.wait()
            self._chunks.put_nowait(message.get("body", b""))
            if not message.get("more_body"):
                self._chunks.put_nowait(None)

    def pause(self) -> None:
        """Stops reading, so that the app's next send waits (backpressure)."""
        self._reading.clear()

    def resume(self) -> None:
        self._reading.set()

    def drop(self) -> None:
        """Drops the connection and what was not read of it."""
        self._gone.set()
        self._reading.set()

    async def block(self) -> bytes | None:
        """The next block of lines, ``None`` at the end of the stream."""
        async with asyncio.timeout(WITHIN):
            while b"\n\n" not in self._text:
                chunk = await self._chunks.get()
                if chunk is None:
                    return None
                self.raw += chunk
                self._text += chunk
        block, _, self._text = self._text.partition(b"\n\n")
        return block

    async def next(self) -> Sent:
        """The next event, as a browser would dispatch it."""
        while (block := await self.block()) is not None:
            fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if line[:1] != b":")
            if b"data" in fields:
                return self._dispatch(fields)
        raise AssertionError("the stream has ended")

    def _dispatch(self, fields: dict[bytes, bytes]) -> Sent:
        id = fields[b"id"].decode() if b"id" in fields else None
        self.last_id = id or self.last_id
        data = msgspec.json.decode(fields[b"data"])
        self.sent.append(Sent(fields.get(b"event", b"message").decode(), id, data))
        return self.sent[-1]

    async def until(self, type: str) -> list[Sent]:
        """Reads until an event of that type; returns the events read."""
        start = len(self.sent)
        while (await self.next()).type != type:
            pass
        return self.sent[start:]

    async def ended(self) -> bool:
        return await self.block() is None
