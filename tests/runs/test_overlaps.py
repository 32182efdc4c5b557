"""What an agent allows a message to ask for that arrives during a run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws import Agent, Router, RunContext
from agentws.errors import AgentError
from agentws.events import Overlap
from agentws.testing.agents import Gate
from agentws.testing.connect import kind

from .harness import talk


class Strict(Agent):
    """Takes no interruptions; counts how often it is made."""

    overlaps = frozenset({"reject", "steer"})
    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        yield "fine"


async def test_an_overlap_that_the_agent_does_not_allow_is_refused() -> None:
    async with talk(Strict) as one:
        refused = await one.client.say("now", "m1", overlap="interrupt")
        assert refused == {
            "type": "error",
            "code": "not_supported",
            "message": "This agent does not allow the overlap 'interrupt'.",
            "expected": "queue or steer or reject",
            "retryable": False,
            "reply": "m1",
        }
        assert await one.kinds() == []
        assert kind(await one.client.say("now", "m2", overlap="reject")) == "accepted"
        await one.terminal()
        await one.check()


async def test_a_message_that_only_waits_does_not_ask_the_agent() -> None:
    Strict.made = 0
    async with talk(Strict) as one:
        await one.client.say("one", "m1")
        await one.client.say("two", "m2", overlap="queue")
        await one.ended(2)
    assert Strict.made == 2


async def test_each_agent_of_a_gateway_allows_its_own() -> None:
    class Loose(Strict):
        overlaps = frozenset({"interrupt"})

    async with talk({"strict": Strict, "loose": Loose}) as one:
        for number, (agent, overlap, answer) in enumerate(
            [
                ("strict", "interrupt", "error"),
                ("loose", "interrupt", "accepted"),
                ("loose", "steer", "error"),
            ]
        ):
            reply = await one.client.say("x", f"m{number}", overlap=overlap, agent=agent)
            assert kind(reply) == answer


@pytest.mark.parametrize("first", ["@careful hello", "@auto hello"])
async def test_the_agent_that_answers_says_what_may_overlap_its_answer(first: str) -> None:
    gate = Gate()

    class Careful(Agent):
        overlaps = frozenset({"queue"})

        async def run(self, ctx: RunContext) -> AsyncIterator[str]:
            yield "one "
            await gate.wait()
            yield "two"

    router = Router({"careful": ["hello"]}, default="loose")
    async with talk({"loose": Strict, "careful": Careful, "auto": router}) as one:
        await one.client.say(first, "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        for number, agent in enumerate([None, "loose", "auto"]):
            overlap = {"agent": agent, "overlap": "reject"}
            refused = await one.client.say("now", f"x{number}", **overlap)
            assert refused["code"] == "not_supported", (number, refused)
        gate.open()
        await one.terminal()
        assert kind(await one.client.say("now", "m2", overlap="reject")) == "accepted"
        assert (await one.texts())[0] == "one two"


async def test_a_message_that_was_accepted_before_is_a_duplicate_under_stricter_rules() -> None:
    class Changing(Strict):
        overlaps = frozenset({"interrupt"})

    async with talk(Changing) as one:
        first = await one.client.say("x", "m1", overlap="interrupt")
        await one.terminal()
        Changing.overlaps = frozenset()
        again = await one.client.say("x", "m1", overlap="interrupt")
        assert (again["duplicate"], again["position"]) == (True, first["position"])
        assert (await one.client.say("x", "m2", overlap="interrupt"))["code"] == "not_supported"


async def test_a_message_that_was_accepted_before_is_a_duplicate_if_its_agent_can_not_be_made() -> (
    None
):
    broken: list[Exception] = []

    def make() -> Agent:
        if broken:
            raise broken[0]
        return Strict()

    async with talk(make) as one:
        first = await one.client.say("x", "m1", overlap="reject")
        await one.terminal()
        broken.append(OSError("no database"))
        again = await one.client.say("x", "m1", overlap="reject")
        assert (again["duplicate"], again["position"]) == (True, first["position"])
        assert (await one.client.say("x", "m2", overlap="reject"))["code"] == "agent_error"


@pytest.mark.parametrize("wrong", ["queue", {"sometimes"}, None, 5])
async def test_overlaps_that_are_none_are_the_mistake_of_the_agent(wrong: Any) -> None:
    class Wrong(Strict):
        overlaps = wrong

    async with talk(Wrong) as one:
        assert (await one.client.say("x", "m1", overlap="steer"))["code"] == "agent_error"
        assert kind(await one.client.say("x", "m2")) == "accepted"
        await one.terminal()


async def test_an_agent_that_can_not_be_made_refuses_with_its_own_sentence() -> None:
    def make() -> Agent:
        raise AgentError("We are closed.")

    async with talk(make) as one:
        refused = await one.client.say("x", "m1", overlap="steer")
        assert (refused["code"], refused["message"]) == ("agent_error", "We are closed.")


async def test_a_function_allows_every_overlap() -> None:
    gate = Gate()

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield "x"
        await gate.wait()

    async with talk(agent) as one:
        for number, overlap in enumerate(["queue", "steer", "interrupt"]):
            assert kind(await one.client.say("x", f"m{number}", overlap=overlap)) == "accepted"
        gate.open()
        await one.ended(3)
        await one.check()


class Changing(Strict):
    """What it allows depends on how it was made."""

    @property
    def overlaps(self) -> frozenset[Overlap]:  # type: ignore[override]
        return frozenset({"steer"})


class Wrong(Strict):
    overlaps = frozenset({"never"})  # type: ignore[arg-type]


async def a_function(ctx: RunContext) -> AsyncIterator[str]:
    yield "fine"


async def test_the_welcome_names_what_each_agent_declares() -> None:
    agents: dict[str, Any] = {
        "strict": Strict,
        "function": a_function,
        "made": lambda: Strict(),
        "changing": Changing,
        "wrong": Wrong,
        "_internal": Strict,
    }
    Strict.made = 0
    async with talk(agents) as one:
        welcome = next(frame for frame in one.client.frames if kind(frame) == "welcome")
        assert welcome["overlaps"] == {
            "strict": ["queue", "steer", "reject"],
            "function": ["queue", "steer", "interrupt", "reject"],
        }
    async with talk(lambda: Strict()) as one:
        welcome = next(frame for frame in one.client.frames if kind(frame) == "welcome")
        assert "overlaps" not in welcome
    assert Strict.made == 0, "an agent was made to be asked"
