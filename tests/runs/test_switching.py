"""Which agent answers: the one that the message names, or the session's, which can be switched."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentws import RunContext
from agentws.agents.factory import Agents
from agentws.backends.memory import MemoryStore
from agentws.runs import engine
from agentws.testing.connect import Client, Frame, connect, kind

from .harness import Talk, talk
from .nodes import nodes


async def answering(ctx: RunContext) -> Any:
    yield f"{ctx.agent}: {ctx.text}"


TWO = {"support": answering, "billing": answering, "sales team": answering}


async def said(t: Talk, content: str, id: str, **members: Any) -> str | None:
    await t.client.say(content, id, **members)
    await t.terminal()
    return (await t.texts())[-1]


async def command(client: Client, content: str, id: str) -> Frame:
    await client.send({"type": "send", "id": id, "content": content})
    return await client.until(lambda frame: kind(frame) in ("notice", "error"))


@pytest.mark.parametrize(
    ("content", "agent"),
    [
        ("where is my invoice?", "support"),
        ("@billing where is my invoice?", "billing"),
        ("  @Billing: where is it?", "billing"),
        ("@billing", "billing"),
        ("@sales team, hello", "sales team"),
        ("@@billing hello", "support"),
        ("@billing-team hello", "support"),
        ("@billingham hello", "support"),
        ("@billing.com hello", "support"),
        ("@nobody hello", "support"),
        ("ask @billing", "support"),
    ],
)
async def test_a_mention_at_the_beginning_chooses_the_agent(content: str, agent: str) -> None:
    async with talk(TWO) as t:
        assert await said(t, content, "m1") == f"{agent}: {content}"
        accepted = next(one for one in t.client.events() if one["type"] == "message.accepted")
        assert accepted.get("agent") == (None if agent == "support" else agent)
        assert accepted["message"]["content"] == content
        await t.check()


async def test_an_agent_in_the_frame_is_stronger_than_a_mention() -> None:
    async with talk(TWO) as t:
        content = "@billing hello"
        assert await said(t, content, "m1", agent="sales team") == f"sales team: {content}"
        assert await said(t, "and now?", "m2") == "support: and now?"


async def test_with_one_agent_a_mention_is_plain_text() -> None:
    async with talk({"billing": answering}) as t:
        await said(t, "@billing hello", "m1")
        accepted = next(one for one in t.client.events() if one["type"] == "message.accepted")
        assert "agent" not in accepted


async def test_a_switch_is_an_event_and_later_messages_go_to_that_agent() -> None:
    async with talk(TWO) as t:
        assert (await command(t.client, "/agent billing", "c1"))["content"] == (
            "You talk to billing now."
        )
        assert await said(t, "hello", "m1") == "billing: hello"
        updated = [one for one in t.client.events() if one["type"] == "session.updated"]
        assert [one.get("agent") for one in updated] == ["billing"]
        assert (await t.store.info(t.session)).agent == "billing"
        listed = (await command(t.client, "/agents", "c2"))["content"]
        assert listed == "support\nbilling (now)\nsales team"
        await t.check()


async def test_a_switch_that_is_sent_again_switches_once() -> None:
    async with talk(TWO) as t:
        await command(t.client, "/agent billing", "c1")
        await command(t.client, "/agent support", "c2")
        again = await command(t.client, "/agent billing", "c1")
        assert "not run again" in again["content"]
        assert await said(t, "hello", "m1") == "support: hello"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("/agent biling", "one of billing"),
        ("/agent zzz", "one of support, billing, sales team"),
        ("/agent", "/agent and one of support, billing, sales team"),
    ],
)
async def test_a_switch_to_an_unknown_agent_names_the_nearest(typed: str, expected: str) -> None:
    async with talk(TWO) as t:
        error = await command(t.client, typed, "c1")
        assert (error["type"], error["expected"]) == ("error", expected)
        assert "session.updated" not in await t.kinds()


async def test_agents_are_listed_in_help_only_where_there_are_several() -> None:
    async with talk(TWO) as t:
        assert "/agents" in (await command(t.client, "/help", "c1"))["content"]
    async with talk(answering) as t:
        assert "/agent" not in (await command(t.client, "/help", "c1"))["content"]
        assert (await command(t.client, "/agents", "c2"))["code"] == "unknown_command"


async def test_a_switch_during_a_run_is_for_the_messages_after_it() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(ctx: RunContext) -> Any:
        begun.set()
        await go_on.wait()
        yield f"{ctx.agent}: {ctx.text}"

    async with talk({"support": slow, "billing": answering}) as t:
        await t.client.say("one", "m1")
        await begun.wait()
        await t.client.say("two", "m2")
        await command(t.client, "/agent billing", "c1")
        go_on.set()
        await t.ended(2)
        assert await t.texts() == ["support: one", "billing: two"]


async def test_every_node_sees_a_switch() -> None:
    async with (
        nodes(TWO) as (one, two),
        connect(one.app) as first,
    ):
        await first.until("welcome")
        url = f"/ws/chat?session={first.session}"
        async with connect(two.app, url) as second:
            await second.until("welcome")
            await command(first, "/agent billing", "c1")
            await second.until("session.updated")
            await second.say("hello", "m1")
            assert await second.answer() == "billing: hello"
            assert (await second.reconnect()) is second
            welcome = await second.until("welcome")
            assert welcome["agent"] == "billing"


class Forgetful(MemoryStore):
    """A store whose list of sessions is behind: an update was lost in a crash."""

    async def update(self, session: str, **changes: Any) -> Any:
        return await super().update(session)


async def test_a_cold_start_knows_the_switch_from_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LINGER", 0.1)
    async with talk(TWO, store=Forgetful(), session_idle=0.1) as t:
        await command(t.client, "/agent billing", "c1")
        await said(t, "hello", "m1")
        await t.client.aclose()
        for _ in range(100):
            if len(t.gateway.sessions):
                await asyncio.sleep(0.05)
        assert not len(t.gateway.sessions)
        assert (await t.store.info(t.session)).agent == "support"
        async with connect(t.client.app, f"/ws/chat?session={t.session}") as other:
            assert (await other.until("welcome"))["agent"] == "billing"


async def test_a_rename_leaves_the_agent_alone() -> None:
    async with talk(TWO, store=Forgetful()) as t:
        await command(t.client, "/agent billing", "c1")
        session = await t.gateway.sessions.find(t.session)
        await t.gateway.change_session(session, title="Trip", metadata=None)
        assert await said(t, "hello", "m1") == "billing: hello"


INTERNAL = {"support": answering, "billing": answering, "_clerk": answering}


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "send", "id": "m1", "content": "hello", "agent": "_clerk"},
        {"type": "command", "id": "c1", "name": "agent", "args": "_clerk"},
    ],
)
async def test_no_client_can_choose_an_internal_agent(frame: Frame) -> None:
    async with talk(INTERNAL) as t:
        await t.client.send(frame)
        error = await t.client.until("error")
        assert (error["code"], error["expected"]) == ("bad_request", "one of support, billing")
        assert await said(t, "@_clerk hello", "m2") == "support: @_clerk hello"
        assert "_clerk" not in (await command(t.client, "/agents", "c3"))["content"]
        welcome = next(one for one in t.client.frames if one["type"] == "welcome")
        assert welcome["agents"] == ["support", "billing"]


async def test_agents_call_an_internal_one() -> None:
    async def support(ctx: RunContext) -> Any:
        yield await ctx.delegate("_clerk", "work") + "; "
        await ctx.handoff("_clerk")

    async with talk({"_clerk": answering, "support": support}) as t:
        assert await said(t, "hello", "m1") == "_clerk: hello"
        assert (await t.texts())[1] == "_clerk: work; "
        assert (await command(t.client, "/agents", "c1"))["code"] == "unknown_command"


def test_a_gateway_needs_an_agent_that_clients_can_choose() -> None:
    with pytest.raises(TypeError, match="only internal agents"):
        Agents({"_clerk": answering})
