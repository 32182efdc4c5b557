"""A chat agent that asks for approval, is steered, and is called again for an answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from agentws import ChatAgent, RunContext, tool
from agentws.agents.agent import Agent
from agentws.agents.output import Output
from agentws.llm import LLM
from agentws.protocol import messages as m
from agentws.testing.connect import connect
from agentws.testing.fakellm import Reply, ScriptedLLM, ToolUse, Turn

from .asking import answer, events_of, questions
from .chatting import ADD, add, chat, refund, refunded, results
from .harness import talk
from .nodes import nodes

# Approvals


def agent_of(llm: LLM) -> Callable[[], ChatAgent]:
    refunded.clear()
    return chat(llm)


ASKS = Reply("I ask. ", calls=[ToolUse("refund", {"order": "A7"})])
PARK = pytest.mark.parametrize("park", [300.0, 0.05], ids=["in memory", "called again"])


@PARK
async def test_an_approved_call_is_made_and_the_model_is_not_asked_again(park: float) -> None:
    llm = ScriptedLLM([ASKS, "Done."])
    async with talk(agent_of(llm), park=park) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        call = events_of(one.client, "TOOL_CALL_START")[0]["toolCallId"]
        assert (asked["reason"], asked["toolCallId"]) == ("tool_call", call)
        await asyncio.sleep(1)
        await one.client.ask(answer("a1", asked["id"], {"approved": True}))
        assert await one.client.answer() == "Done."
        fold = await one.check()
    assert refunded == ["A7"]
    assert [list(turns) for turns in llm.requests] == [
        [Turn("user", "go")],
        [Turn("user", "go"), Turn("assistant", "I ask. "), Turn("tool", "Refunded A7.")],
    ]
    kinds = [type(one) for one in fold.messages]
    assert kinds == [m.UserMessage, m.AssistantMessage, m.ToolMessage, m.AssistantMessage]


@PARK
async def test_a_denied_call_is_told_to_the_model(park: float) -> None:
    llm = ScriptedLLM([ASKS, "Then not."])
    async with talk(agent_of(llm), park=park) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(1)
        denied = {"approved": False, "reason": "too much"}
        await one.client.ask(answer("a1", asked["id"], denied))
        assert await one.client.answer() == "Then not."
    assert (refunded, results(llm)) == ([], ["The call was denied: too much"])


@PARK
async def test_calls_of_several_rounds_may_be_approved(park: float) -> None:
    both = [ToolUse("refund", {"order": "B1"}), ToolUse("refund", {"order": "B2"})]
    llm = ScriptedLLM(
        [
            Reply("Sum. ", reasoning="Hm.", calls=[ADD, ToolUse("unknown")]),
            ASKS,
            Reply("Both. ", calls=[both[0], ADD, both[1]]),
            "Done.",
        ]
    )
    async with talk(agent_of(llm), park=park) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(1)
        await one.client.ask(answer("a1", asked["id"], {"approved": True}))
        first, second = await questions(one.client)
        await asyncio.sleep(1)
        await one.client.ask(answer("a2", first["id"], {"approved": True}))
        await one.client.ask(answer("a3", second["id"], {"approved": False}))
        assert await one.client.answer() == "Done."
        await one.check()
        assert await one.texts() == ["Sum. ", "I ask. ", "Both. ", "Done."]
    assert refunded == ["A7", "B1"]
    assert len(llm.requests) == 4
    assert results(llm)[2:] == ["Refunded A7.", "Refunded B1.", "3", "The call was denied."]


async def test_another_node_goes_on_with_the_rounds_of_a_node_that_is_gone() -> None:
    llm = ScriptedLLM([Reply(calls=[ADD]), ASKS, "Done."])
    async with nodes(agent_of(llm)) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            (asked,) = await questions(client)
            first.freeze()
            await client.reconnect(second.app)
            await client.ask(answer("a1", asked["id"], {"approved": True}))
            assert await client.answer() == "Done."
            first.thaw()
            await asyncio.sleep(30)
            await client.settle()
    assert (refunded, len(llm.requests)) == (["A7"], 3)


@PARK
async def test_a_refused_call_beside_one_that_asks_has_one_result(park: float) -> None:
    llm = ScriptedLLM([Reply(calls=[*ASKS.calls, ToolUse("unknown")]), "Done."])
    async with talk(agent_of(llm), park=park) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(1)
        await one.client.ask(answer("a1", asked["id"], {"approved": True}))
        assert await one.client.answer() == "Done."
        assert len(events_of(one.client, "TOOL_CALL_RESULT")) == 2
        await one.check()


async def test_an_agent_that_no_longer_asks_does_not_ask_its_model() -> None:
    llm, lives = ScriptedLLM(["Never said."]), [True, False]

    class Changed(ChatAgent):
        async def run(self, ctx: RunContext) -> AsyncGenerator[Output, None]:
            if lives.pop(0):
                await ctx.ask("Sure?")
            async for item in super().run(ctx):
                yield item

    async with talk(lambda: Changed(llm), park=0.05) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(1)
        await one.client.ask(answer("a1", asked["id"], "yes"))
        assert (await one.terminal())["event"]["code"] == "replay_diverged"
    assert not llm.requests


async def test_a_subclass_may_call_and_ask_around_its_model() -> None:
    llm = ScriptedLLM([Reply("One. ", calls=[ADD]), "Two.", "Three."])

    class Careful(ChatAgent):
        async def run(self, ctx: RunContext) -> AsyncGenerator[Output, None]:
            assert await ctx.call(add, a=20, b=22) == 42
            async for item in super().run(ctx):
                yield item
            if await ctx.ask("Was it good?") != "yes":
                async for item in super().run(ctx):
                    yield item

    def agent() -> Agent:
        return Careful(llm, tools=[add])

    async with talk(agent, park=0.05) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(1)
        await one.client.ask(answer("a1", asked["id"], "no"))
        assert await one.client.answer() == "Three."
        await one.check()
    assert len(llm.requests) == 3


# Steering


def steer(id: str, content: str) -> dict[str, Any]:
    return {"type": "send", "id": id, "content": content, "overlap": "steer"}


async def test_a_steering_message_is_given_to_the_model_in_the_next_round() -> None:
    @tool
    async def wait() -> str:
        """Waits."""
        await asyncio.sleep(10)
        return "done"

    llm = ScriptedLLM([Reply(calls=[ToolUse("wait")]), "As you wish."])
    async with talk(chat(llm, tools=[wait])) as one:
        await one.client.say("go", "m1")
        await one.client.until("TOOL_CALL_END")
        await one.client.ask(steer("m2", "In French!"))
        assert await one.client.answer() == "As you wish."
        assert [event["outcome"] for event in events_of(one.client, "message.steered")] == [
            "delivered"
        ]
        await one.check()
    assert [turn.text for turn in llm.requests[1]] == ["go", "", "done", "In French!"]


@PARK
async def test_what_steered_the_run_is_not_forgotten_when_an_agent_is_called_again(
    park: float,
) -> None:
    @tool
    async def wait() -> str:
        """Waits."""
        await asyncio.sleep(10)
        return "done"

    llm = ScriptedLLM([Reply("One. ", calls=[ToolUse("wait")]), ASKS, "Fini."])
    refunded.clear()
    async with talk(chat(llm, tools=[wait, refund]), park=park) as one:
        await one.client.say("go", "m1")
        await one.client.until("TOOL_CALL_END")
        await one.client.ask(steer("m2", "In French!"))
        (asked,) = await questions(one.client)
        await asyncio.sleep(1)
        await one.client.ask(answer("a1", asked["id"], {"approved": True}))
        assert await one.client.answer() == "Fini."
        await one.check()
    said = ["go", "One. ", "done", "In French!", "I ask. ", "Refunded A7."]
    assert [turn.text for turn in llm.requests[2]] == said
    assert len(llm.requests) == 3


# The same, whether an agent waited or was called again


def random_script(rng: random.Random) -> list[Reply]:
    """Rounds with text, reasoning and all kinds of calls, and an answer at the end."""

    def call() -> ToolUse:
        order = f"O{rng.randrange(3)}"
        return rng.choice(
            [
                ADD,
                ToolUse("add", {"a": 1}),
                ToolUse("unknown"),
                ToolUse("fail"),
                ToolUse("refund", {"order": order}),
                ToolUse("refund", {"order": order}),
            ]
        )

    def reply() -> Reply:
        return Reply(
            rng.choice(["", "Some words. "]),
            reasoning=rng.choice(["", "Hm, well."]),
            signature=rng.choice(["", "s"]),
            calls=[call() for _ in range(rng.randint(1, 3))],
        )

    return [*(reply() for _ in range(rng.randint(1, 4))), Reply("Done.")]


async def played(script: list[Reply], seed: int, park: float) -> tuple[list[Any], ScriptedLLM]:
    """Runs the script to its end, with random answers; returns the conversation."""
    llm, rng = ScriptedLLM(script), random.Random(seed)
    async with talk(agent_of(llm), park=park) as one:
        await one.client.say("go", "m1")
        count = 0
        while (event := (await one.terminal())["event"])["outcome"]["type"] == "interrupt":
            await asyncio.sleep(1)
            for asked in event["outcome"]["interrupts"]:
                count += 1
                payload = {"approved": rng.random() < 0.7}
                await one.client.ask(answer(f"a{count}", asked["id"], payload))
        assert event["outcome"] == {"type": "success"}, event
        fold = await one.check()
    return [shape(one) for one in fold.messages], llm


def shape(message: m.Message) -> tuple[Any, ...]:
    match message:
        case m.AssistantMessage(content=content, tool_calls=calls):
            return "assistant", content, [call.function for call in calls or ()]
        case m.ToolMessage(content=content):
            return "tool", content
        case _:
            return message.content, getattr(message, "encrypted_value", None)


@pytest.mark.parametrize("seed", range(12))
async def test_an_agent_that_is_called_again_says_what_one_that_waited_says(seed: int) -> None:
    script = random_script(random.Random(seed))
    waited, first = await played(script, seed, park=300.0)
    again, second = await played(script, seed, park=0.05)
    assert [list(turns) for turns in first.requests] == [list(turns) for turns in second.requests]
    assert waited == again
    assert len(first.requests) == len(script)
