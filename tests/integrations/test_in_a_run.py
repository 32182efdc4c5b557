"""What a client of the gateway sees when a model's answer is malformed or incomplete."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from agentws.agents.agent import Agent
from agentws.agents.chat import ChatAgent
from agentws.agents.llm import LLM
from agentws.agents.output import Output
from agentws.agents.run_context import RunContext
from agentws.protocol.events import ToolCallArgs, ToolCallEnd, ToolCallResult, ToolCallStart
from agentws.testing.fakellm import FakeLLM, Reply
from tests.runs.harness import Talk, talk

from .wires import WIRES, Connect


@asynccontextmanager
async def chat(connect: Connect, reply: Reply) -> AsyncIterator[Talk]:
    async with FakeLLM([reply]) as fake, connect(fake) as llm, talk(lambda: ChatAgent(llm)) as one:
        yield one


async def end(one: Talk) -> dict[str, Any]:
    await one.client.say("go", "m1")
    event: dict[str, Any] = (await one.terminal())["event"]
    await one.check()
    return event


async def test_half_characters_and_nuls_do_not_fail_a_run(connect: Connect) -> None:
    async with chat(connect, Reply(["\x00Hi \ud83d", "\ude00", "\ud83d"])) as one:
        assert (await end(one))["outcome"] == {"type": "success"}
        assert await one.texts() == ["Hi 😀\ufffd"]


@pytest.mark.parametrize("value", [[], "many", None, 2**70, 1e300, {"a": [1]}], ids=str)
async def test_odd_usage_does_not_fail_a_run(connect: Connect, value: Any) -> None:
    def edit(event: dict[str, Any]) -> dict[str, Any]:
        holder = event.get("message", event)
        if holder.get("usage"):
            holder["usage"] |= {"input_tokens": value, "prompt_tokens": value}
        return event

    async with chat(connect, Reply("Hello there", edit=edit)) as one:
        event = await end(one)
        assert event["outcome"] == {"type": "success"}
        (usage,) = event["usage"]
        assert ("inputTokens" in usage, usage["outputTokens"]) == (False, 2)


async def test_an_answer_that_is_cut_off_keeps_its_text_and_the_error_says_why(
    connect: Connect,
) -> None:
    reply = Reply("Hello there", finish="insufficient_system_resource")
    async with chat(connect, reply) as one:
        event = await end(one)
        assert (event["type"], event["code"]) == ("RUN_ERROR", "llm_cut_off")
        assert "insufficient_system_resource" in event["message"]
        assert await one.texts() == ["Hello there"]


async def test_a_rate_limit_in_the_middle_is_retryable_and_keeps_the_text(connect: Connect) -> None:
    async with chat(connect, Reply("one two", fault="rate_limit")) as one:
        event = await end(one)
        assert (event["type"], event["code"]) == ("RUN_ERROR", "llm_rate_limited")
        assert event["metadata"] == {"agentws": {"retryable": True}}
        assert await one.texts() == ["one "]


async def test_an_empty_answer_ends_the_run_with_an_error(connect: Connect) -> None:
    async with chat(connect, Reply("")) as one:
        event = await end(one)
        assert (event["code"], event["message"]) == ("llm_empty", "The model gave no answer.")


async def test_the_text_of_a_refusal_is_shown_to_the_user() -> None:
    delta = {"choices": [{"index": 0, "delta": {"refusal": "I can't say that."}}]}
    async with chat(WIRES["openai"], Reply(events=[delta])) as one:
        assert (await end(one))["code"] == "llm_refused"
        assert await one.texts() == ["I can't say that."]


class Clock(Agent):
    """Calls a tool in the first run, as another provider's model would; then asks ``llm``."""

    def __init__(self, llm: LLM) -> None:
        self._chat = ChatAgent(llm)

    async def run(self, ctx: RunContext) -> AsyncIterator[Output]:
        if ctx.text == "clock":
            id = "functions.clock:0"
            yield ToolCallStart(id, "functions.clock")
            yield ToolCallArgs(tool_call_id=id, delta="{}")
            yield ToolCallEnd(id)
            yield ToolCallResult("result", id, "noon")
            return
        async with aclosing(self._chat.run(ctx)) as answer:
            async for piece in answer:
                yield piece


async def test_a_conversation_can_continue_with_another_provider(connect: Connect) -> None:
    async with FakeLLM() as fake, connect(fake) as llm, talk(lambda: Clock(llm)) as one:
        await one.client.say("clock", "m1")
        await one.terminal()
        await one.client.say("Thanks", "m2")
        await one.terminal()
        await one.check()
    sent = str(fake.requests)
    assert "noon" in sent
    assert "functions.clock" not in sent
    assert "functions_clock" in sent
