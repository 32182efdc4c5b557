"""A router: it chooses the agent of each message, once, in the run that answers it."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import pytest

from agentws import ModelRouter, RunContext
from agentws.agents.factory import Agents
from agentws.agents.routing import FAILED, NO_CHOICE, Router, Rules, named_in
from agentws.llm import LLMUnavailable
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.fold import Fold
from agentws.testing.agents import Gate
from agentws.testing.agui import runs_of, verify
from agentws.testing.connect import connect
from agentws.testing.fakellm import ScriptedLLM

from .harness import Talk, talk
from .nodes import nodes


async def answering(ctx: RunContext) -> Any:
    yield f"{ctx.agent}: {ctx.text}"


def routed(router: Router) -> dict[str, Any]:
    return {"auto": router, "support": answering, "billing": answering}


async def ended(t: Talk, content: str, id: str = "m1") -> dict[str, Any]:
    await t.client.say(content, id)
    terminal = (await t.terminal())["event"]
    for run in runs_of(await t.log()).values():
        verify(run)
    await t.check()
    return dict(terminal)


def chosen(t: Talk) -> list[tuple[str, str | None]]:
    found = [one for one in t.client.events() if one["type"] == "agent.chosen"]
    return [(one["agent"], one.get("reason")) for one in found]


RULES: Rules = {"billing": ["invoice", "Straße", re.compile(r"\brefund(s|ed)?\b")]}


@pytest.mark.parametrize(
    ("content", "agent"),
    [
        ("Where is my INVOICE?", "billing"),
        ("i was refunded", "billing"),
        ("STRASSE", "billing"),
        ("a refunding thing", "support"),
        ("hello", "support"),
    ],
)
async def test_the_first_rule_that_fits_chooses(content: str, agent: str) -> None:
    async with talk(routed(Router(RULES, default="support"))) as t:
        await ended(t, content)
        assert await t.texts() == [f"{agent}: {content}"]
        assert chosen(t) == [(agent, None if agent == "billing" else NO_CHOICE)]
        assert (await t.store.info(t.session)).agent == "auto"
        assert "session.updated" not in await t.kinds()


async def test_one_rule_need_not_be_a_list() -> None:
    async with talk(routed(Router({"billing": "invoice"}, default="support"))) as t:
        await ended(t, "v oi c")
        await ended(t, "my invoice", "m2")
        assert [agent for agent, _ in chosen(t)] == ["support", "billing"]


async def by_length(ctx: RunContext) -> str | None:
    return "billing" if len(ctx.text) > 5 else None


def by_length_at_once(ctx: RunContext) -> str | None:
    return "billing" if len(ctx.text) > 5 else None


@pytest.mark.parametrize("choose", [by_length, by_length_at_once])
async def test_a_function_chooses(choose: Any) -> None:
    async with talk(routed(Router(choose, default="support"))) as t:
        await ended(t, "a long message")
        await ended(t, "short", "m2")
        assert chosen(t) == [("billing", None), ("support", NO_CHOICE)]


def raising(ctx: RunContext) -> str:
    raise RuntimeError("secret")


def exits(ctx: RunContext) -> str:
    raise SystemExit(3)


async def hanging(ctx: RunContext) -> str:
    await asyncio.Event().wait()
    return "billing"


@pytest.mark.parametrize(
    "choose", [raising, exits, hanging, lambda ctx: "nobody", lambda ctx: "auto", lambda ctx: 5]
)
async def test_a_router_that_can_not_choose_leaves_it_to_the_default(
    choose: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with talk(routed(Router(choose, default="support", timeout=0.05))) as t:
        assert (await ended(t, "hello"))["type"] == "RUN_FINISHED"
        assert chosen(t) == [("support", FAILED)]
        assert "secret" not in str([record.data for record in await t.log()])
    assert "the router auto failed" in caplog.text


async def test_a_message_is_accepted_while_a_router_thinks_and_can_be_stopped() -> None:
    gate = Gate()

    async def slow(ctx: RunContext) -> str:
        await gate.wait()
        return "billing"

    async with talk(routed(Router(slow, default="support"))) as t:
        await t.client.say("go", "m1")
        await gate.reached()
        await t.client.send({"type": "cancel", "id": "c1"})
        assert (await t.terminal())["event"]["outcome"]["type"] == "cancelled"
        await t.check()
        assert chosen(t) == []


async def test_a_mention_and_a_switch_go_past_the_router() -> None:
    async with talk(routed(Router(RULES, default="support"))) as t:
        await ended(t, "@support my invoice")
        await t.client.send({"type": "command", "id": "c1", "name": "agent", "args": "support"})
        await t.client.until("notice")
        await ended(t, "my invoice", "m2")
        assert chosen(t) == []
        await t.client.send({"type": "command", "id": "c2", "name": "agent", "args": "auto"})
        await t.client.until("notice")
        await ended(t, "my invoice", "m3")
        assert chosen(t) == [("billing", None)]


async def test_routers_that_choose_each_other_end_with_a_clear_error() -> None:
    agents = {
        "one": Router(lambda ctx: "two", default="two"),
        "two": Router(lambda ctx: "one", default="one"),
    }
    async with talk(agents, max_handoffs=4) as t:
        assert (await ended(t, "hello"))["code"] == "too_many_agents"


async def test_the_chosen_agent_may_hand_over() -> None:
    async def desk(ctx: RunContext) -> Any:
        await ctx.handoff("billing", "Money.")
        yield ""

    async def billing(ctx: RunContext) -> Any:
        assert ctx.handed_over is not None
        yield f"{ctx.handed_over.by}: {ctx.handed_over.reason}"

    router = Router({}, default="desk")
    async with talk({"auto": router, "desk": desk, "billing": billing}) as t:
        await ended(t, "hello")
        assert chosen(t) == [("desk", NO_CHOICE), ("billing", "Money.")]
        assert await t.texts() == ["desk: Money."]
        assert (await t.store.info(t.session)).agent == "billing"


async def test_a_delegate_may_be_routed() -> None:
    async def lead(ctx: RunContext) -> Any:
        yield "(" + await ctx.delegate("auto", "my invoice") + ")"

    agents = {"lead": lead, **routed(Router(RULES, default="support"))}
    async with talk(agents) as t:
        await ended(t, "go")
        assert (await t.texts())[-1] == "(billing: my invoice)"
        assert chosen(t) == []


async def test_an_answer_goes_back_to_the_agent_that_was_chosen_without_routing_again() -> None:
    choices: list[str] = []

    def choose(ctx: RunContext) -> str:
        choices.append(ctx.text)
        return "asking"

    async def asking(ctx: RunContext) -> Any:
        if ctx.answers:
            yield f"{ctx.agent} got {ctx.answers[0].payload}"
        else:
            asked = m.Interrupt("i1", "approval", message="May I?")
            yield e.RunFinished("", "", outcome=m.InterruptOutcome([asked]))

    agents = {"auto": Router(choose, default="other"), "other": answering, "asking": asking}
    async with nodes(agents) as (one, two), connect(one.app) as first:
        await first.until("welcome")
        await first.say("hello", "m1")
        await first.until("RUN_FINISHED")
        async with connect(two.app, f"/ws/chat?session={first.session}") as second:
            await second.until("welcome")
            await second.send({"type": "answer", "id": "a1", "interrupt": "i1", "payload": 7})
            assert await second.answer() == "asking got 7"
    assert choices == ["hello"]


async def test_every_reader_of_the_log_knows_who_answers() -> None:
    seen: list[str | None] = []

    async def agent(ctx: RunContext) -> Any:
        yield "x"
        await asyncio.sleep(0.01)
        seen.append(Fold().apply_all(await t.log()).outline.agent)

    router = Router({}, default="agent")
    async with talk({"auto": router, "agent": agent}) as t:
        await ended(t, "hello")
    assert seen == ["agent"]


# At mount


@pytest.mark.parametrize(
    ("router", "named"),
    [
        (Router({"biling": ["x"]}, default="support"), "biling"),
        (Router({}, default="nobody"), "nobody"),
        (Router({"auto": ["x"]}, default="support"), "auto"),
        (ModelRouter(ScriptedLLM(), {"support": "all", "sales": "offers"}), "sales"),
    ],
)
def test_a_router_that_names_an_agent_that_is_not_there_is_refused(
    router: Router, named: str
) -> None:
    with pytest.raises(ValueError, match=f"the router 'auto' names {named}"):
        Agents(routed(router))


@pytest.mark.parametrize("rule", [5, "", b"x"])
def test_a_rule_that_is_no_rule_is_refused(rule: Any) -> None:
    with pytest.raises(TypeError, match="a rule for 'billing'"):
        Router({"billing": [rule]}, default="support")


# By a model


AGENTS = {"billing": "questions about invoices", "support": "everything else"}


@pytest.mark.parametrize(
    ("answer", "agent"),
    [
        ("billing", "billing"),
        (' "Billing".\n', "billing"),
        ("The agent is billing.", "billing"),
        ("billing or support", "support"),
        ("", "support"),
        ("I can't say", "support"),
    ],
)
async def test_a_model_chooses_and_gets_the_conversation(answer: str, agent: str) -> None:
    llm = ScriptedLLM([answer or " "])
    async with talk(routed(ModelRouter(llm, AGENTS, default="support"))) as t:
        terminal = await ended(t, "where is it?")
        assert chosen(t)[0][0] == agent
        assert terminal["usage"][0]["provider"] == "scripted"
    instructions, asked = llm.requests[0]
    assert "- billing: questions about invoices" in instructions.text
    assert asked.text == "User: where is it?"


async def test_a_model_that_is_down_leaves_it_to_the_default() -> None:
    class Down(ScriptedLLM):
        async def stream(
            self, messages: Any, *, instructions: str | None = None, tools: Any = ()
        ) -> Any:
            raise LLMUnavailable()
            yield ""

    async with talk(routed(ModelRouter(Down(), AGENTS))) as t:
        assert (await ended(t, "hello"))["type"] == "RUN_FINISHED"
        assert chosen(t) == [("billing", FAILED)]


def test_a_model_router_needs_agents() -> None:
    with pytest.raises(ValueError, match="agents is empty"):
        ModelRouter(ScriptedLLM(), {})


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("a-b", "a-b"),
        ("take a-b", "a-b"),
        ("`a`", "a"),
        ("a and a-b", None),
        ("abc", None),
        ("use a.", "a"),
    ],
)
def test_a_name_is_found_in_an_answer(answer: str, name: str | None) -> None:
    assert named_in(answer, ["a", "a-b"]) == name
