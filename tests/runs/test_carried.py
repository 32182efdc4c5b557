"""What a cold start of a session reads from its checkpoint (the state that is carried)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from agentws import Identity, mount_agent_gateway
from agentws.agents.run_context import RunContext
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.runs import engine
from agentws.testing.agents import Call, Script, Step
from agentws.testing.connect import Client, connect, running
from tests.limits import limits

from .harness import Talk, talk
from .nodes import memory_store


@pytest.fixture(autouse=True)
def soon_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LINGER", 0.1)


async def forgotten(one: Talk) -> None:
    """Disconnects, and waits for the eviction of the session."""
    await one.client.aclose()
    for _ in range(100):
        if not len(one.gateway.sessions):
            return
        await asyncio.sleep(0.5)
    raise AssertionError("the session is still in memory")


async def back(one: Talk) -> tuple[Client, dict[str, Any]]:
    """Reconnects without a position; returns the metadata of the snapshot."""
    client = Client(one.client.app, f"/ws/chat?session={one.session}")
    await client.open()
    await client.until("welcome")
    snapshot = (await client.until("MESSAGES_SNAPSHOT"))["event"]
    return client, snapshot.get("metadata", {}).get("agentws", {})


def asking(*ids: str) -> list[Step]:
    questions = [m.Interrupt(id, "approval", message="May I?") for id in ids]
    return ["May I? ", e.RunFinished("", "", outcome=m.InterruptOutcome(questions))]


async def resumed(ctx: RunContext) -> str:
    return ", ".join(f"{one.interrupt_id}={one.payload}" for one in ctx.answers)


def answer(id: str, interrupt: str, payload: Any) -> dict[str, Any]:
    return {"type": "answer", "id": id, "interrupt": interrupt, "payload": payload}


async def test_open_questions_survive_settling() -> None:
    script = Script(named={"go": asking("q1", "q2"), "": [Call(resumed)]})
    async with talk(script, session_idle=1.0, store=memory_store()) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        await one.client.ask(answer("a1", "q1", 1))
        await forgotten(one)
        client, known = await back(one)
        assert [each["id"] for each in known["interrupts"]] == ["q2"]
        assert (await client.ask(answer("a1", "q1", 1)))["duplicate"] is True
        await client.ask(answer("a2", "q2", 2))
        assert await client.answer() == "q1=1, q2=2"
        await client.aclose()


async def test_a_question_id_can_be_used_again_after_settling() -> None:
    script = Script(named={"go": asking("q1"), "": [Call(resumed)]})
    async with talk(script) as one:
        for turn in (1, 2):
            await one.client.say("go", f"m{turn}")
            await one.terminal()
            await one.client.ask(answer(f"a{turn}", "q1", "yes"))
            assert await one.client.answer() == "q1=yes"


async def counting(ctx: RunContext) -> e.Event:
    count = 0 if ctx.state is None else ctx.state["count"]
    if ctx.state is None:
        return e.StateSnapshot({"count": 1})
    return e.StateDelta([{"op": "replace", "path": "/count", "value": count + 1}])


async def test_the_shared_state_survives_settling() -> None:
    script = Script(Call(counting))
    async with talk(script, session_idle=1.0, store=memory_store()) as one:
        for number in range(3):
            await one.client.say("go", f"m{number}")
            await one.terminal()
        assert [run.state for run in script.runs] == [{"count": n} for n in (1, 2, 3)]
        await forgotten(one)
        client, _ = await back(one)
        assert (await client.until("STATE_SNAPSHOT"))["event"]["snapshot"] == {"count": 3}
        await client.say("go", "m9")
        await client.answer()
        assert script.runs[-1].state == {"count": 4}
        await client.aclose()


async def test_a_snapshot_has_the_state_from_before_settling() -> None:
    """Without the changes of the active run, whose events follow the snapshot."""

    async def setting(ctx: RunContext) -> AsyncIterator[Any]:
        if ctx.text == "set":
            yield e.StateSnapshot({"old": True})
        elif ctx.text == "change":
            yield e.StateDelta([{"op": "add", "path": "/new", "value": True}])
            await asyncio.get_running_loop().create_future()
        else:
            yield "chatter"

    async with talk(setting, snapshot_messages=4) as one:
        for number, text in enumerate(["set", *["chat"] * 20]):
            await one.client.say(text, f"m{number}")
            await one.terminal()
        await one.client.say("change", "m99")
        await one.client.until("STATE_DELTA")
        async with connect(one.client.app, f"/ws/chat?session={one.session}") as other:
            snapshot = await other.until("STATE_SNAPSHOT")
            assert snapshot["event"]["snapshot"] == {"old": True}
            delta = await other.until("STATE_DELTA")
            assert delta["event"]["delta"][0]["path"] == "/new"


async def test_changing_the_state_in_place_is_not_shared() -> None:
    kept: list[dict[str, Any]] = []

    async def careless(ctx: RunContext) -> AsyncIterator[Any]:
        if ctx.state is None:
            kept.append({"list": []})
            yield e.StateSnapshot(kept[0])
            await asyncio.sleep(0.1)
            kept[0]["list"].append("unsaid")
        else:
            ctx.state["list"].append("unsaid")
            yield "done"

    async with talk(careless) as one:
        for number in range(3):
            await one.client.say("go", f"m{number}")
            await one.terminal()
        async with connect(one.client.app, f"/ws/chat?session={one.session}") as other:
            snapshot = await other.until("STATE_SNAPSHOT")
            assert snapshot["event"]["snapshot"] == {"list": []}


async def test_a_title_from_an_agent_is_stored() -> None:
    store = memory_store()
    async with talk(Script("hi", e.SessionUpdated("Trip to Rome")), store=store) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        await one.client.settle()
        assert (await store.info(one.session)).title == "Trip to Rome"
        _, known = await back(one)
        assert known["title"] == "Trip to Rome"


async def test_the_agent_gets_the_identity_of_the_sender() -> None:
    """The sender need not be the owner of the session."""

    def who(connection: HTTPConnection) -> Identity | None:
        name = connection.headers.get("x-user")
        return None if name is None else Identity(name)

    script, app = Script("fine"), Starlette()
    mount_agent_gateway(
        app, script, authenticate=who, authorize=lambda *asked: True, limits=limits()
    )
    async with running(app), connect(app, headers={"x-user": "ann"}) as ann:
        await ann.say("mine", "m1")
        await ann.answer()
        url = f"/ws/chat?session={ann.session}"
        async with connect(app, url, headers={"x-user": "guest"}) as guest:
            await guest.until("welcome")
            await guest.say("a guest's", "m2")
            await guest.answer()
        asked = [event for event in ann.events() if event["type"] == "message.accepted"]
        assert [event.get("by") for event in asked][:1] == ["ann"]
    assert [str(run.identity and run.identity.id) for run in script.runs] == ["ann", "guest"]
