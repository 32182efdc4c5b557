"""Agents decide which changes of their shared state they accept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentws import Agent, AgentError, RunContext, StateChange

from .harness import talk
from .sharing import Open, add, change


async def test_an_agent_that_says_nothing_accepts_no_change() -> None:
    class Closed(Open):
        accepts_state = False

    async def function(ctx: RunContext) -> Any:
        yield "never called"

    for agent in (Closed, function):
        async with talk(agent) as one:
            assert (await one.client.ask(change(add("/a", 1))))["code"] == "not_supported"
            assert await one.kinds() == []


async def test_an_agent_decides_on_the_change_and_who_asks_for_it() -> None:
    asked: list[StateChange] = []

    class Careful(Open):
        def accepts_state(self, change: StateChange) -> bool:
            asked.append(change)
            if change.after.get("amount", 0) > 100:
                raise AgentError("At most 100, please.")
            change.before["text"] = change.after["text"] = "in place"
            return "secret" not in change.after

    async with talk(Careful) as one:
        await one.client.ask(change(add("/amount", 50)))
        assert asked[-1].before == {"text": "in place"} and asked[-1].identity is None
        refused = await one.client.ask(change(add("/amount", 500), id="s2"))
        assert (refused["code"], refused["message"]) == ("agent_error", "At most 100, please.")
        refused = await one.client.ask(change(add("/secret", 1), id="s3"))
        assert refused["code"] == "forbidden"
        assert (await one.check()).state == {"amount": 50}


def raising(change: StateChange) -> bool:
    raise KeyError("internals")


def exiting(change: StateChange) -> bool:
    raise SystemExit(1)


def ending(change: StateChange) -> bool:
    raise GeneratorExit


async def waiting(change: StateChange) -> bool:
    return True


@pytest.mark.parametrize("rule", [raising, exiting, ending, waiting, lambda change: 1, "yes", None])
async def test_a_mistake_in_the_rule_of_an_agent_is_its_error(rule: Any) -> None:
    class Broken(Open):
        def __init__(self) -> None:
            self.accepts_state = rule

    async with talk(Broken) as one:
        reply = await one.client.ask(change(add("/a", 1)))
        assert (reply["code"], reply["message"]) == ("agent_error", "The agent failed.")
        await one.client.say("still alive", "m1")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"


async def test_an_agent_that_can_not_be_made_in_time_is_an_error() -> None:
    async def never() -> Agent:
        await asyncio.sleep(100)
        return Open()

    async with talk(never, command_timeout=0.05) as one:
        reply = await one.client.ask(change(add("/a", 1)))
        assert reply["code"] == "timed_out" and "the changes that it accepts" in reply["message"]


@pytest.mark.parametrize("by", ["its rule", "its making"])
async def test_a_change_that_was_made_before_is_a_duplicate_when_it_is_refused_now(by: str) -> None:
    class Changing(Open):
        accepts_state = True

        def __init__(self) -> None:
            if not Changing.accepts_state and by == "its making":
                raise OSError("no database")

    async with talk(Changing) as one:
        made = change(add("/a", 1))
        first = await one.client.ask(made)
        Changing.accepts_state = False
        again = await one.client.ask(made)
        assert (again["duplicate"], again["position"]) == (True, first["position"])
        other = await one.client.ask(change(add("/b", 1), id="s2"))
        assert other["code"] == ("not_supported" if by == "its rule" else "agent_error")
