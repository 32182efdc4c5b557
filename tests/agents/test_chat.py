"""ChatAgent: its prompt, its output, and its cancellation."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest

from agentws.agents.chat import ChatAgent
from agentws.agents.llm import LLM, LLMUnavailable
from agentws.agents.output import Output
from agentws.agents.prompt import STOPPED
from agentws.agents.run_context import RunContext
from agentws.integrations.anthropic import AnthropicMessages
from agentws.integrations.openai import OpenAIChat
from agentws.protocol.events import TextMessageChunk
from agentws.protocol.messages import AssistantMessage, TokenUsage
from agentws.testing.fakellm import FakeLLM, Reply, ScriptedLLM, Turn
from tests.contexts import run_context


async def said(agent: ChatAgent, ctx: RunContext) -> list[object]:
    async with aclosing(agent.run(ctx)) as answer:
        return [text_in(item) async for item in answer]


def text_in(item: Output) -> object:
    """The text of a chunk: the first piece of a message is one."""
    return item.delta if isinstance(item, TextMessageChunk) else item


async def test_a_chat_agent_yields_the_text_of_the_model_and_reports_its_usage() -> None:
    ctx = run_context("Hello there")
    assert await said(ChatAgent(ScriptedLLM(["Good day."])), ctx) == ["Good ", "day."]
    assert ctx.usage == [TokenUsage("scripted", "scripted", 2, 2, 4)]


async def test_the_model_gets_the_instructions_and_the_conversation() -> None:
    llm = ScriptedLLM()
    earlier = AssistantMessage(id="a", content="Hi!")
    await said(ChatAgent(llm, instructions="Be brief."), run_context("Hello", earlier, "Bye"))
    assert llm.requests[0] == [
        Turn("system", "Be brief."),
        Turn("user", "Hello"),
        Turn("assistant", "Hi!"),
        Turn("user", "Bye"),
    ]


async def test_the_oldest_turns_are_left_out_first() -> None:
    llm = ScriptedLLM()
    agent = ChatAgent(llm, history_budget=30)
    await said(agent, run_context("old " * 40, "recent", "newest"))
    assert [turn.text for turn in llm.requests[0]] == ["recent", "newest"]


async def test_the_prompt_marks_a_cancelled_answer() -> None:
    llm = ScriptedLLM()
    stopped = AssistantMessage(
        id="a", content="Once upon", metadata={"agentws": {"status": "cancelled"}}
    )
    await said(ChatAgent(llm), run_context("A story!", stopped, "Never mind."))
    assert llm.requests[0][1] == Turn("assistant", f"Once upon\n\n{STOPPED['cancelled']}")


async def test_text_before_a_failure_is_kept() -> None:
    pieces = []
    with pytest.raises(LLMUnavailable):
        agent = ChatAgent(ScriptedLLM([Reply("one two", fault="drop")]))
        async with aclosing(agent.run(run_context("Go"))) as answer:
            async for piece in answer:
                pieces.append(text_in(piece))
    assert pieces == ["one "]


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_cancelling_a_run_closes_the_request_to_the_provider(wire: str) -> None:
    async with FakeLLM([Reply("one two three", fault="stall")]) as fake:
        async with adapter(wire, fake) as llm:
            begun = anyio.Event()

            async def run() -> None:
                async with aclosing(ChatAgent(llm).run(run_context("Go"))) as answer:
                    async for _ in answer:
                        begun.set()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                await begun.wait()
                tasks.cancel_scope.cancel()
            await fake.settled()
            assert (len(fake.requests), fake.completed, fake.disconnects) == (1, 0, 1)


def adapter(wire: str, fake: FakeLLM) -> LLM:
    if wire == "openai":
        return OpenAIChat("fake", base_url=fake.openai_url, api_key="x")
    return AnthropicMessages("fake", base_url=fake.anthropic_url, api_key="x")
