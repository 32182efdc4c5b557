"""Titles: a session with an owner is named once, and an explicit name always wins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette

from agentws import (
    Agent,
    AgentGateway,
    BearerKeys,
    LocalBus,
    MemoryFileStore,
    MemoryStore,
    RunContext,
    SessionContext,
    mount_agent_gateway,
)
from agentws.files import FileStore, NewFile
from agentws.protocol.events import SessionUpdated
from agentws.store import Store
from agentws.testing.agents import Gate, Script
from agentws.testing.connect import Client, connect, kind, running
from agentws.testing.contract_base import eventually
from agentws.testing.faults import FaultyStore
from agentws.testing.oracle import read_log
from tests.limits import limits

KEYS = BearerKeys({"ann-key": "ann"})


@asynccontextmanager
async def owned(
    agent: Any,
    *,
    store: Store | None = None,
    files: FileStore | None = None,
    token: str | None = "ann-key",
    **changes: Any,
) -> AsyncIterator[tuple[AgentGateway, Client]]:
    """A gateway, and a client with an identity."""
    app = Starlette()
    keys = None if token is None else KEYS
    store = store or MemoryStore()
    limited = limits(**changes)
    gateway = mount_agent_gateway(
        app, agent, store=store, files=files, authenticate=keys, limits=limited
    )
    async with running(app), connect(app, token=token) as client:
        await client.until("welcome")
        yield gateway, client


async def titles(store: Store, session: str | None) -> list[str]:
    """The titles in the log, in order."""
    assert session is not None
    _, records = await read_log(store, session)
    decoded = [msgspec.json.decode(record.data)["event"] for record in records]
    return [one["title"] for one in decoded if one["type"] == "session.updated"]


async def title(store: Store, session: str | None) -> str | None:
    assert session is not None
    return (await store.info(session)).title


async def say(client: Client, text: str, id: str) -> None:
    await client.say(text, id)
    await client.until(lambda frame: kind(frame) in ("RUN_FINISHED", "RUN_ERROR"))


class Naming(Agent):
    """Its hook returns ``made``, or raises it."""

    made: Any = "Invoice of March"
    asked: list[list[str]]

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        if ctx.text == "fail":
            raise RuntimeError("as ordered")
        yield "Here it is."

    async def title(self, ctx: SessionContext) -> str | None:
        assert ctx.identity is not None and ctx.identity.id == ctx.session.owner
        self.asked.append([str(one.content) for one in await ctx.history()])
        if isinstance(self.made, BaseException):
            raise self.made
        made: str | None = self.made
        return made


def naming(made: Any) -> type[Naming]:
    return type("Naming", (Naming,), {"made": made, "asked": []})


async def test_a_session_is_named_by_its_first_message() -> None:
    async with owned(Script("hello")) as (gateway, client):
        await say(client, "Where is\nmy invoice?", "m1")
        event = (await client.until("session.updated"))["event"]
        assert event["title"] == "Where is my invoice?"
        await say(client, "And the other one?", "m2")
        await say(client, "Thanks", "m3")
        assert await titles(gateway.store, client.session) == ["Where is my invoice?"]
        assert await title(gateway.store, client.session) == "Where is my invoice?"


@pytest.mark.parametrize(
    ("text", "expected"), [("", "Invoice of March.pdf"), ("Is it right?", "Is it right?")]
)
async def test_a_message_without_text_names_its_session_by_its_first_file(
    text: str, expected: str
) -> None:
    files = MemoryFileStore()
    store = MemoryStore()
    async with owned(Script("yes"), store=store, files=files) as (_, client):
        for id, name in (("file_1", "Invoice of\nMarch.pdf"), ("file_2", "other.txt")):
            new = NewFile(id=id, name=name, type="text/plain", owner="ann", created=time.time())
            await files.create(new, chunks_of(b"x"))
        await client.say(text, "m1", attachments=["file_1", "file_2"])
        await client.until("session.updated")
        assert await title(store, client.session) == expected


async def chunks_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_a_named_session_costs_nothing() -> None:
    store = FaultyStore(MemoryStore())
    async with owned(Script("hello"), store=store) as (_, client):
        await say(client, "one", "m1")
        await client.until("session.updated")
        before = store.calls["update"], store.calls["read_back"]
        for number in range(2, 6):
            await say(client, "more", f"m{number}")
        assert (store.calls["update"], store.calls["read_back"]) == before


@pytest.mark.parametrize("token", [None, "ann-key"])
async def test_only_a_session_with_an_owner_is_named(token: str | None) -> None:
    async with owned(naming("Fine"), token=token) as (gateway, client):
        await say(client, "hello", "m1")
        if token:
            await client.until("session.updated")
        await say(client, "hello", "m2")
        assert await titles(gateway.store, client.session) == (["Fine"] if token else [])


async def test_no_session_is_named_if_titles_are_off() -> None:
    async with owned(Script("hello"), title_length=0) as (gateway, client):
        await say(client, "hello", "m1")
        await say(client, "hello", "m2")
        assert await titles(gateway.store, client.session) == []


async def test_the_agents_hook_names_the_session_after_the_first_answered_run() -> None:
    agent = naming("  Invoice\nof March ")
    async with owned(agent) as (gateway, client):
        await say(client, "fail", "m1")
        await say(client, "Where is it?", "m2")
        assert (await client.until("session.updated"))["event"]["title"] == "Invoice of March"
        assert agent.asked == [["fail", "Where is it?", "Here it is."]]
        await say(client, "Thanks", "m3")
        assert len(agent.asked) == 1
        assert await title(gateway.store, client.session) == "Invoice of March"


@pytest.mark.parametrize(
    "made",
    [
        *(None, "", " \n", 42, "\ud800"),
        *(ValueError("no"), SystemExit(), KeyboardInterrupt(), GeneratorExit()),
    ],
)
async def test_without_a_title_by_the_hook_the_first_message_names_it(made: Any) -> None:
    async with owned(naming(made)) as (_, client):
        await say(client, "Where is it?", "m1")
        assert (await client.until("session.updated"))["event"]["title"] == "Where is it?"
        await say(client, "Thanks", "m2")


async def test_a_hook_that_takes_too_long_delays_nothing() -> None:
    class Slow(Naming):
        asked = []

        async def title(self, ctx: SessionContext) -> str | None:
            await asyncio.sleep(3600)
            return "late"

    async with owned(Slow, command_timeout=0.2) as (_, client):
        await say(client, "one", "m1")
        await say(client, "two", "m2")
        assert (await client.until("session.updated"))["event"]["title"] == "one"


async def test_a_session_that_the_owner_named_is_not_named_again() -> None:
    gate = Gate()
    async with owned(Script("one ", gate, "two")) as (gateway, client):
        await client.say("first words", "m1")
        await client.until("TEXT_MESSAGE_CONTENT")
        assert client.session is not None
        session = await gateway.sessions.find(client.session)
        await gateway.change_session(session, title="Mine")
        gate.open()
        await client.until("RUN_FINISHED")
        await say(client, "more", "m2")
        assert await titles(gateway.store, client.session) == ["Mine"]
        assert await title(gateway.store, client.session) == "Mine"


async def test_a_session_that_the_agent_named_is_not_named_again() -> None:
    async with owned(Script(SessionUpdated("By the agent"), "hi")) as (gateway, client):
        await say(client, "first words", "m1")
        await say(client, "more", "m2")
        assert set(await titles(gateway.store, client.session)) == {"By the agent"}


@pytest.mark.parametrize("operation", ["update", "append"])
async def test_a_title_that_could_not_be_stored_is_made_after_the_next_run(operation: str) -> None:
    store = FaultyStore(MemoryStore())
    gate = Gate()

    class Failing(Naming):
        asked = []

        async def title(self, ctx: SessionContext) -> str | None:
            if not self.asked:
                store.fail(operation, times=1)
            self.asked.append([])
            return "Named"

    async with owned(Failing, store=store) as (_, client):
        await say(client, "one", "m1")

        async def failed() -> bool:
            return bool(Failing.asked) and store._times == 0

        await eventually(failed)
        gate.open()
        await say(client, "two", "m2")
        assert (await client.until("session.updated"))["event"]["title"] == "Named"
        assert await title(store, client.session) == "Named"


class Shuffled(FaultyStore):
    """Every call of ``update`` and ``append`` waits a random number of passes of the loop."""

    def __init__(self, store: Store, random: Random) -> None:
        super().__init__(store)
        self.random = random

    async def around(self, operation: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if operation in ("update", "append"):
            for _ in range(self.random.randrange(4)):
                await asyncio.sleep(0)
        done = await super().around(operation, call)
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)
        return done


@pytest.mark.parametrize("seed", range(60))
async def test_an_explicit_name_wins_whenever_it_comes(seed: int) -> None:
    random = Random(seed)
    memory, bus = MemoryStore(), LocalBus()
    app, other = Starlette(), Starlette()

    def mount(host: Starlette) -> AgentGateway:
        store = Shuffled(memory, random)
        return mount_agent_gateway(
            host, Script("hello"), store=store, bus=bus, authenticate=KEYS, limits=limits()
        )

    mount(app)
    second = mount(other)
    async with running(app), running(other), connect(app, token="ann-key") as client:
        await client.until("welcome")
        assert client.session is not None
        session = await second.sessions.find(client.session)
        await client.say("first words", "m1")
        await client.until("RUN_FINISHED")
        for _ in range(random.randrange(12)):
            await asyncio.sleep(0)
        await second.change_session(session, title="Mine")
        await client.until(lambda frame: frame.get("event", {}).get("title") == "Mine")
        await say(client, "more", "m2")

        async def named() -> bool:
            log = await titles(memory, client.session)
            return log[-1] == "Mine" and await title(memory, client.session) == "Mine"

        await eventually(named)
        assert await titles(memory, client.session) in (["Mine"], ["first words", "Mine"])
