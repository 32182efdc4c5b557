"""Senders in a shared session: whose each message and each run is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import pytest

from agentws import Identity, RunContext
from agentws.backends.local import LocalBus
from agentws.protocol.frames import Send
from agentws.testing.connect import kind
from agentws.testing.faults import FaultyStore, SlowStore, WrappedStore

from .nodes import memory_store
from .senders import SESSION, Seen, ended, person, shared

T = TypeVar("T")


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("slow", [0.0, 0.05])
async def test_an_agent_gets_the_first_sender_of_a_message_id_that_is_sent_again(
    same: bool, slow: float
) -> None:
    seen = Seen()
    store = SlowStore(memory_store(), slow_on="append", delay=slow) if slow else None
    async with shared(seen, store=store) as (app, _):
        async with person(app, "ada", "admin") as ada, person(app, "bob", "guest") as bob:
            await ada.say("wait", "m1")
            await ada.say("from ada", "m2")
            for _ in range(2):
                text = "from ada" if same else "from bob"
                refused = await bob.say(text, "m2")
                assert (kind(refused), refused["code"]) == ("error", "idempotency_conflict")
            await bob.say("from bob", "m3")
            again = await ada.say("from ada", "m2")
            assert (kind(again), again["duplicate"]) == ("accepted", True)
            await ended(ada, 3)
    assert [run[:3] for run in seen.runs] == [
        ("wait", "ada", "admin"),
        ("from ada", "ada", "admin"),
        ("from bob", "bob", "guest"),
    ]


async def test_a_message_belongs_to_the_sender_that_wins_the_race_for_its_id() -> None:
    """Both appends are in progress; bob's began first and is delayed."""

    class Overtaken(WrappedStore):
        first = True

        async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
            if operation == "append" and self.first:
                self.first = False
                await asyncio.sleep(1)
            return await call()

    seen, store = Seen(), Overtaken(memory_store())
    bus = LocalBus()
    async with (
        shared(seen, store=store, bus=bus) as (here, _),
        shared(seen, store=store.store, bus=bus) as (there, _),
        person(here, "bob", "guest") as bob,
        person(there, "ada", "admin") as ada,
    ):
        losing = asyncio.create_task(bob.say("go", "m1"))
        await asyncio.sleep(0.1)
        await ada.say("go", "m1")
        assert (await losing)["code"] == "idempotency_conflict"
        await ended(ada, 1)
    assert [(run[1], run[2]) for run in seen.runs] in ([("ada", "admin")], [("ada", "")])


async def test_a_message_whose_acknowledgement_was_lost_keeps_its_sender() -> None:
    seen, store = Seen(), FaultyStore(memory_store())
    async with shared(seen, store=store) as (app, _), person(app, "ada", "admin") as ada:
        await ada.until("welcome")
        store.fail("append", times=1, after=True)
        assert (await ada.say("go", "m1"))["code"] == "unavailable"
        assert (await ada.say("go", "m1"))["duplicate"]
        await ended(ada, 1)
    assert [run[:3] for run in seen.runs] == [("go", "ada", "admin")]


async def test_a_message_whose_sender_disconnected_keeps_its_sender() -> None:
    """The request is cancelled, as by a host's timeout; the store still makes the append."""

    class CutOff(WrappedStore):
        waiting = False

        async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
            done = await call()
            if operation == "append" and self.waiting:
                self.waiting = False
                await asyncio.sleep(5)
            return done

    seen, store = Seen(), CutOff(memory_store())
    async with shared(seen, store=store) as (app, gateway), person(app, "ada", "admin") as ada:
        await ada.until("welcome")
        store.waiting = True
        session = await gateway.sessions.find(SESSION)
        ada_herself = Identity("ada", {"role": "admin"})
        sending = asyncio.ensure_future(
            gateway.send(session, Send(id="m1", content="go"), identity=ada_herself)
        )
        await asyncio.sleep(0.1)
        sending.cancel()
        await asyncio.wait({sending})
        assert (await ada.say("go", "m1"))["duplicate"]
        await ended(ada, 1)
        assert session.senders is None
    assert [run[:3] for run in seen.runs] == [("go", "ada", "admin")]


async def test_few_senders_are_remembered_while_the_store_is_unavailable() -> None:
    seen, store = Seen(), FaultyStore(memory_store())
    async with shared(seen, store=store) as (app, gateway), person(app, "ada", "admin") as ada:
        session = await gateway.sessions.find(str(ada.session or SESSION))
        store.fail("append", times=50)
        for number in range(50):
            refused = await ada.say("go", f"m{number % 20}")
            assert refused["code"] == "unavailable"
            # Too many errors in a row would close the connection.
            await ada.say("/ping", f"p{number}")
        assert session.senders is not None
        assert len(session.senders) <= 8
        await ada.say("go", "m1")
        await ended(ada, 1)
    assert [run[:3] for run in seen.runs] == [("go", "ada", "admin")]


async def test_only_its_sender_edits_a_message_and_it_keeps_its_sender() -> None:
    seen = Seen()
    async with shared(seen) as (app, _):
        async with person(app, "ada", "admin") as ada, person(app, "bob", "guest") as bob:
            await ada.say("wait", "m1")
            await ada.say("from ada", "m2")
            edit = {"type": "edit_queued", "id": "e1", "message": "m2", "content": "edited"}
            refused = await bob.ask(edit)
            assert refused["code"] == "forbidden"
            await bob.say("from bob", "m3")
            for id in ("e2", "e3"):
                assert kind(await ada.ask({**edit, "id": id, "content": id})) == "accepted"
            moved = await bob.ask({"type": "promote", "id": "p1", "message": "m3"})
            assert kind(moved) == "accepted"
            await ended(ada, 3)
    assert seen.runs[1:] == [
        ("from bob", "bob", "guest", "bob's"),
        ("e3", "ada", "admin", "ada's"),
    ]


async def test_nobody_else_steers_the_run_of_a_sender() -> None:
    """The agent acts for the run's sender: another one's message waits for a run of its own."""
    runs: list[tuple[str, str | None, list[Any]]] = []

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield "waiting "
        if ctx.text == "wait":
            await asyncio.sleep(5)
        who = None if ctx.identity is None else ctx.identity.id
        runs.append((ctx.text, who, [one.content for one in await ctx.steered()]))

    async with shared(agent) as (app, _):
        async with person(app, "ada") as ada, person(app, "bob") as bob:
            await ada.say("wait", "m1")
            await ada.until("RUN_STARTED")
            await bob.say("from bob", "m2", overlap="steer")
            await ada.say("from ada", "m3", overlap="steer")
            await ended(ada, 2)
            steered = [one for one in ada.events() if one["type"] == "message.steered"]
    assert [(one["messageId"], one["outcome"], one.get("reason")) for one in steered] == [
        ("m2", "undelivered", "other_sender"),
        ("m3", "delivered", None),
    ]
    assert runs == [("wait", "ada", ["from ada"]), ("from bob", "bob", [])]
