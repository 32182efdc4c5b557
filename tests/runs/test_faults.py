"""Stores that fail, before or after the call had its effect, and slow stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from agentws.backends.memory import MemoryStore
from agentws.errors import StorageFull
from agentws.protocol import events as e
from agentws.testing.agents import Gate, Hang, Script, Sleep, Yield
from agentws.testing.connect import connect, kind
from agentws.testing.faults import FaultyStore, SlowStore
from tests.words import words

from .harness import talk

T = TypeVar("T")

AFTER = pytest.mark.parametrize("after", [False, True], ids=["before", "after"])


class FailsNth(FaultyStore):
    def __init__(self, nth: int, *, after: bool) -> None:
        super().__init__(MemoryStore())
        self._nth = nth
        self._fails_after = after

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        if operation == "append" and self.calls["append"] == self._nth - 1:
            self.fail("append", times=1, after=self._fails_after)
        return await super().around(operation, call)


@AFTER
@pytest.mark.parametrize("nth", range(1, 8))
async def test_one_failing_append_has_no_visible_effect(after: bool, nth: int) -> None:
    """Any append may fail, with or without effect: the log is complete, without duplicates."""
    store = FailsNth(nth, after=after)
    async with talk(Script(*words(5)), store=store) as one:
        answer = await one.client.say("go", "m1")
        while kind(answer) == "error":
            assert (answer["code"], answer["retryable"]) == ("unavailable", True)
            answer = await one.client.say("go", "m1")
        await one.ended(1)
        await one.check()
        assert await one.texts() == ["0 1 2 3 4 "]


@AFTER
@pytest.mark.parametrize("reading", ["read", "read_back"])
async def test_an_append_is_made_once_although_it_and_its_lookup_fail(
    after: bool, reading: str
) -> None:
    store = FaultyStore(MemoryStore())
    gate = Gate()
    async with talk(Script("one ", gate, "two ", Sleep(1), "three"), store=store) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.until("TEXT_MESSAGE_CONTENT")
        store.fail("append", times=1, after=after)
        gate.open()
        await asyncio.sleep(0.01)
        store.fail({"append", reading}, times=5, after=after)
        await one.ended(1)
        await one.check()
        assert await one.texts() == ["one two three"]


@AFTER
async def test_a_large_batch_with_a_lost_acknowledgement_is_appended_once(after: bool) -> None:
    """More events at once than one page of the log."""
    store = FaultyStore(MemoryStore())
    gate = Gate()
    many = [e.Custom("n", number) for number in range(1200)]
    async with talk(Script("one", gate, Yield(*many)), store=store) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.until("TEXT_MESSAGE_CONTENT")
        store.fail("append", times=1, after=after)
        gate.open()
        await one.ended(1)
        await one.check()
        assert (await one.kinds()).count("CUSTOM") == 1200


async def test_repeated_text_is_not_taken_for_a_lost_append() -> None:
    store = FaultyStore(MemoryStore())
    gates = [Gate(), Gate()]
    async with talk(Script("ha", gates[0], "ha", gates[1], "ha"), store=store) as one:
        await one.client.say("go", "m1")
        for gate in gates:
            await gate.reached()
            await asyncio.sleep(0.1)
            store.fail("append", times=1)
            gate.open()
            await asyncio.sleep(1)
        await one.ended(1)
        await one.check()
        assert await one.texts() == ["hahaha"]


async def test_a_message_whose_acknowledgement_was_lost_is_run() -> None:
    """The append was made, the client got a failure and has disconnected."""
    store = FaultyStore(MemoryStore())
    async with talk(Script("fine"), store=store) as one:
        store.fail("append", times=1, after=True)
        answer = await one.client.say("go", "m1")
        assert (answer["code"], answer["retryable"]) == ("unavailable", True)
        await one.ended(1)
        await one.check()


async def test_a_resend_starts_the_run_of_an_append_that_seemed_to_fail() -> None:
    store = FaultyStore(MemoryStore())
    async with talk(Script("fine"), store=store) as one:
        store.fail("append", times=1, after=True)
        await one.client.say("go", "m1")
        again = await one.client.say("go", "m1")
        assert again["duplicate"] is True
        await one.client.until("RUN_FINISHED", within=0.02)
        await one.check()


async def test_a_run_ends_interrupted_after_a_long_outage_of_the_store() -> None:
    """The run ends, interrupted, when the store is available again; the next one succeeds."""
    store = FaultyStore(MemoryStore())
    gate = Gate()
    script = Script(named={"go": ["one ", gate, "two"], "next": ["fine"]})
    async with talk(script, store=store) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.until("TEXT_MESSAGE_CONTENT")
        store.fail({"append", "read", "read_back", "load", "heads", "lease", "renew"})
        gate.open()
        await asyncio.sleep(60)
        refused = await one.client.say("next", "m2")
        assert (refused["code"], refused["retryable"]) == ("unavailable", True)
        store.heal()
        assert (await one.ended(1))[0]["code"] == "interrupted"
        await one.client.say("next", "m2")
        assert (await one.ended(2))[1]["type"] == "RUN_FINISHED"
        await one.check()


async def test_a_full_store_fails_the_run_and_the_session_recovers() -> None:
    store = FaultyStore(MemoryStore())
    gate = Gate()
    async with talk(Script(named={"go": [gate, "text"], "next": ["fine"]}), store=store) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        store.fail("append", error=StorageFull)
        gate.open()
        await asyncio.sleep(1)
        refused = await one.client.say("next", "m2")
        assert (refused["code"], refused["retryable"]) == ("storage_full", True)
        store.heal()
        await one.client.say("next", "m2")
        await one.ended(2)
        await one.check()


@pytest.mark.parametrize("operation", ["lease", "renew", "release", "unsettled", "heads"])
@AFTER
async def test_two_failures_of_any_other_store_call_are_survived(
    operation: str, after: bool
) -> None:
    store = FaultyStore(MemoryStore())
    async with talk(Script(*words(3)), store=store, lease_ttl=0.5) as one:
        store.fail(operation, times=2, after=after)
        for number in range(3):
            await one.client.say("go", f"m{number}")
            await one.ended(number + 1)
            await asyncio.sleep(3)
        await one.check()


async def test_a_cancel_while_the_store_is_slow_writes_one_end() -> None:
    """The end waits for the store for longer than an agent may take to clean up."""
    store = SlowStore(MemoryStore(), slow_on="append")
    async with talk(Script("partial", Hang()), store=store) as one:
        await one.client.say("go", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        await one.client.ask({"type": "cancel", "id": "c1"})
        store.pause()
        await asyncio.sleep(1)
        store.resume()
        await one.ended(1)
        await asyncio.sleep(1)
        assert one.gateway.stats()["zombie_agents"] == 0
        await one.check()


@pytest.mark.parametrize("delay", [0.001, 0.03, 0.2])
async def test_a_slow_store_loses_nothing_and_ends_every_run_once(delay: float) -> None:
    store = SlowStore(MemoryStore(), delay=delay)
    async with talk(Script(*words(10)), store=store, cancel_grace=0.05) as one:
        for number in range(3):
            await one.client.say("go", f"m{number}")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        await one.client.ask({"type": "cancel", "id": "c1"})
        async with connect(one.client.app, f"/ws/chat?session={one.session}") as other:
            while sum(kind(frame) == "RUN_FINISHED" for frame in other.frames) < 2:
                await other.receive(within=30)
        await one.ended(3)
        await one.check()


async def test_a_snapshot_during_the_start_of_the_next_run_is_consistent() -> None:
    """A snapshot is read while the queue in it changes."""
    store = SlowStore(MemoryStore(), slow_on="read_back")
    gate = Gate()
    async with talk(Script(gate, "fine"), store=store) as one:
        for number in range(3):
            await one.client.say("go", f"m{number}")
        await gate.reached()
        store.pause()
        entering = asyncio.create_task(_enter(one.client.app, one.session))
        await asyncio.sleep(0.1)
        gate.open()
        await one.ended(2)
        store.resume()
        other = await entering
        while sum(kind(frame) == "RUN_FINISHED" for frame in other.frames) < 3:
            await other.receive()
        await one.check(complete=False)
        one.client.frames[:] = other.frames
        await one.check()
        await other.aclose()


async def _enter(app: Any, session: str) -> Any:
    from agentws.testing.connect import Client

    return await Client(app, f"/ws/chat?session={session}").open()


@pytest.mark.parametrize("operation", ["read_back", "load", "create"])
async def test_a_connection_during_a_store_failure_is_refused_as_retryable(operation: str) -> None:
    """Refused as retryable; no event is sent before the ``welcome``."""
    store = FaultyStore(MemoryStore())
    async with talk(Script(*words(20)), store=store) as one:
        await one.client.say("go", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        store.fail(operation, times=1)
        known = (
            f"session={one.session}" if operation == "read_back" else "session=a-session-of-another"
        )
        async with connect(one.client.app, f"/ws/chat?{known}") as other:
            assert (await other.wait_closed()).code == 4503
            assert [kind(frame) for frame in other.frames] == ["bye"]
            assert other.frames[0]["retryable"] is True
            await other.reconnect()
            assert kind(await other.receive()) == "welcome"
        await one.ended(1)
        await one.check()
