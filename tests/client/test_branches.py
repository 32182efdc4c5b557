"""Branches in the Python client, against a real gateway: every chat shows what the server has."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from agentws import RunContext
from agentws.client import Chat
from agentws.errors import AgentwsError, NotFound, RunActive
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.codec import decode_record
from agentws.testing import open_transport
from agentws.testing.laws import violations
from agentws.testing.oracle import check_log, read_log
from agentws.testing.virtual import virtual_run
from tests.runs.nodes import Node, memory_store, nodes
from tests.virtual import anyio_backend as anyio_backend

SESSION = "a-session-of-many-branches"
SEEDS = range(25)


async def echo(ctx: RunContext) -> AsyncIterator[str]:
    await asyncio.sleep(0.05)
    yield f"{ctx.text} "
    await asyncio.sleep(0.05)
    yield f"after {len(await ctx.history())}"


@asynccontextmanager
async def tabs(many: list[Node], count: int = 3) -> AsyncIterator[list[Chat]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                Chat(open_transport(many[number % len(many)].app), session=SESSION)
            )
            for number in range(count)
        ]


def texts(chat: Chat) -> list[str]:
    return [str(getattr(one, "content", "")) for one in chat.messages]


def branches(chat: Chat, at: int) -> dict[str, Any]:
    metadata: Any = chat.messages[at].metadata
    found: dict[str, Any] = metadata["agentws"]["branches"]
    return found


async def alike(chats: list[Chat], wanted: list[str]) -> None:
    await until(lambda: all(texts(chat) == wanted for chat in chats))


async def until(true: Callable[[], bool]) -> None:
    for _ in range(600):
        if true():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("this never becomes true")


async def test_every_tab_follows_a_branch() -> None:
    async with nodes(echo) as many, tabs(many) as (one, other, third):
        for text in "ab":
            await one.ask(text)
        assert await other.regenerate().text() == "b after 3"
        first = one.messages[0].id
        assert await third.edit(first, "A").text() == "A after 1"
        await alike([one, other, third], ["A", "A after 1"])
        marks = [branches(chat, 0) for chat in (one, other, third)]
        assert marks[0]["current"] == 1 and marks[0] == marks[1] == marks[2]
        await one.switch(marks[0]["ids"][0])
        await alike([one, other, third], ["a", "a after 1", "b", "b after 3"])
        assert [branches(chat, 2)["current"] for chat in (one, other, third)] == [1, 1, 1]


async def test_what_can_not_branch_raises() -> None:
    async with nodes(echo) as many, tabs(many, 1) as (chat,):
        with pytest.raises(NotFound):
            chat.regenerate()
        turn = chat.send("a", id="m1")
        with pytest.raises(RunActive):
            chat.regenerate("m1")
        await turn.text()
        with pytest.raises(NotFound):
            await chat.edit("m7", "b").text()
        with pytest.raises(NotFound):
            await chat.switch("br_7")
        assert texts(chat) == ["a", "a after 1"]


async def test_a_regenerated_answer_is_the_turn_that_is_returned() -> None:
    async with nodes(echo) as many, tabs(many, 1) as (chat,):
        await chat.ask("a")
        turn = chat.regenerate()
        assert turn.id == chat.messages[0].id
        kinds = [event.__struct_config__.tag async for event in turn]
        assert (kinds[0], kinds[-1]) == ("RUN_STARTED", "RUN_FINISHED")


@pytest.mark.parametrize("seed", SEEDS)
def test_after_any_interleaving_every_tab_shows_what_the_server_has(seed: int) -> None:
    virtual_run(schedule(random.Random(seed)))


class Person:
    """Who acts in one tab, mostly knowing what is going on."""

    def __init__(self, chat: Chat, chance: random.Random, name: str) -> None:
        self.chat = chat
        self.said: set[str] = set()
        """The ids of the messages that were accepted."""
        self.refused: set[str] = set()
        self._chance = chance
        self._name = name

    async def act(self) -> None:
        for number in range(8):
            await asyncio.sleep(self._chance.choice((0.0, 0.02, 0.1, 0.5, 1.0)))
            id = f"{self._name}{number}"
            try:
                await self._step(id)
            except AgentwsError as error:
                assert error.code in ("run_active", "not_found", "conflict"), error
                self.refused.add(id)

    async def _step(self, id: str) -> None:
        chance, chat = self._chance, self.chat
        users = [one for one in chat.messages if isinstance(one, m.UserMessage)]
        match chance.randrange(5) if users else 0:
            case 0:
                await chat.send(id, id=id).accepted()
                self.said.add(id)
            case 1:
                await chat.edit(chance.choice(users).id, id, id=id).accepted()
                self.said.add(id)
            case 2:
                await chat.regenerate(chance.choice(users).id).accepted()
            case _:
                known = [branch for one in users for branch in ids_of(one)]
                await chat.switch(chance.choice(known or ["br_none"]))


async def schedule(chance: random.Random) -> None:
    store = memory_store()
    lossy = chance.choice((None, 0.5))
    async with nodes(echo, store=store, lossy=lossy) as many, tabs(many) as chats:
        people = [Person(chat, chance, name) for chat, name in zip(chats, "xyz", strict=True)]
        await asyncio.gather(*(person.act() for person in people))
        await until_calm(chats)
        async with tabs(many, 2) as (fresh, also):
            wanted = [fresh.messages, also.messages]
            assert wanted[0] == wanted[1]
        await until(lambda: all(chat.messages == wanted[0] for chat in chats))
        _, records = await read_log(store, SESSION)
        check_log(records)
        assert violations(records) == []
        bodies = [decode_record(record.data).event for record in records]
        taken = {one.message.id for one in bodies if isinstance(one, e.MessageAccepted)}
        for person in people:
            assert not taken & person.refused
            assert person.said <= taken


def ids_of(message: m.UserMessage) -> list[str]:
    ours = (message.metadata or {}).get("agentws", {})
    ids: list[str] = ours.get("branches", {}).get("ids", [])
    return ids


async def until_calm(chats: list[Chat]) -> None:
    await until(lambda: not any(chat.run or chat.connection != "open" for chat in chats))
    await asyncio.sleep(5.0)
