"""The demo agent: every show is a legal run, and an API key selects the model."""

from __future__ import annotations

import sys
from contextlib import aclosing

import pytest

from agentws.agents.commands import CommandContext, find_command
from agentws.cli.demo import INTRO, SHOWS, Demo, demo_agent, llm_from, offline_llm
from agentws.errors import AgentError, BadRequest
from agentws.protocol.events import (
    Event,
    TextMessageChunk,
    TextMessageContent,
    ToolCallResult,
    ToolCallStart,
)
from agentws.protocol.messages import AssistantMessage, Message, UserMessage
from agentws.protocol.sequence import RunSequence
from agentws.testing.fakellm import FakeLLM, ScriptedLLM
from tests.contexts import SESSION, run_context


async def events(text: str) -> list[Event]:
    """The events of the run as they are appended; raises InvalidEvent."""
    sequence = RunSequence("run_1")
    log: list[Event] = []
    async with aclosing(demo().run(run_context(text))) as answer:
        async for piece in answer:
            chunk = TextMessageChunk(delta=piece) if isinstance(piece, str) else piece
            log += sequence.admit(chunk)
    return log + sequence.close()


def demo() -> Demo:
    return demo_agent(ScriptedLLM(["From the model."]), pace=0)()


def text_of(log: list[Event]) -> str:
    return "".join(event.delta for event in log if isinstance(event, TextMessageContent))


@pytest.mark.parametrize("word", sorted(SHOWS.keys() - {"error"}))
async def test_every_demo_show_is_a_legal_run(word: str) -> None:
    assert text_of(await events(word))


def test_the_intro_names_every_show_and_command() -> None:
    commands = [command.name for command in demo().commands()]
    assert all(f"`{word}`" in INTRO for word in SHOWS)
    assert all(f"`/{name}" in INTRO for name in commands)


async def test_a_shows_name_is_case_insensitive() -> None:
    assert text_of(await events(" Demo ")) == INTRO


async def test_the_tool_show_has_one_call_with_its_result() -> None:
    log = await events("tool")
    calls = [event.tool_call_id for event in log if isinstance(event, ToolCallStart)]
    results = [event.tool_call_id for event in log if isinstance(event, ToolCallResult)]
    assert len(calls) == 1
    assert results == calls


async def test_the_error_show_fails_after_some_text() -> None:
    pieces: list[object] = []
    with pytest.raises(AgentError):
        async with aclosing(demo().run(run_context("error"))) as answer:
            async for piece in answer:
                pieces.append(piece)
    assert pieces


async def test_any_other_text_goes_to_the_model() -> None:
    assert text_of(await events("a long story about a tool")) == "From the model."


async def test_the_offline_model_uses_earlier_messages() -> None:
    llm = offline_llm(pace=0)
    earlier: list[Message] = [
        UserMessage(id="1", content="My name is Ada"),
        AssistantMessage(id="2", content="Hello"),
    ]
    asked = UserMessage(id="3", content="Who am I?")
    assert "My name is Ada" in await answer(llm_messages := [*earlier, asked], llm)
    assert INTRO in await answer(llm_messages[2:], llm)


async def answer(messages: list[Message], llm: object) -> str:
    assert isinstance(llm, ScriptedLLM)
    async with aclosing(llm.stream(messages)) as pieces:
        return "".join([piece async for piece in pieces if isinstance(piece, str)])


async def command(text: str) -> str:
    async def history(limit: int | None) -> list[Message]:
        return [UserMessage(id="1", content="Hi"), AssistantMessage(id="2", content="Hello")]

    name, _, args = text.partition(" ")
    ctx = CommandContext(session=SESSION, identity=None, history=history)
    return await find_command(demo().commands(), name).run(ctx, args)


async def test_the_demo_commands_answer() -> None:
    assert await command("count") == "2 messages so far, 1 of them from you."
    assert (await command("roll 2")) in ("You rolled 1 of 2.", "You rolled 2 of 2.")
    assert (await command("roll")).endswith(" of 6.")


@pytest.mark.parametrize("args", ["0", "1", "-3", "many", "9999999", "²"])
async def test_rolling_a_die_without_valid_sides_is_a_bad_request(args: str) -> None:
    with pytest.raises(BadRequest):
        await command(f"roll {args}")


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_an_api_key_selects_the_providers_model(provider: str) -> None:
    async with FakeLLM(["From afar."]) as fake:
        url = fake.openai_url if provider == "openai" else fake.anthropic_url
        name = provider.upper()
        llm, line = llm_from(
            {f"{name}_API_KEY": "sk-secret", f"{name}_BASE_URL": url, f"{name}_MODEL": "m-1"}
        )
        async with llm, aclosing(llm.stream([UserMessage(id="1", content="Hi")])) as pieces:
            assert await anext(pieces) == "From "
    assert fake.requests[0]["model"] == "m-1"
    assert "m-1" in line
    assert "sk-secret" not in line


def test_without_an_api_key_the_offline_model_is_used() -> None:
    llm, line = llm_from({"OPENAI_API_KEY": ""})
    assert isinstance(llm, ScriptedLLM)
    assert "offline" in line


def test_an_api_key_without_the_sdk_falls_back_to_the_offline_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.delitem(sys.modules, "agentws.integrations.openai", raising=False)
    llm, line = llm_from({"OPENAI_API_KEY": "sk-secret"})
    assert isinstance(llm, ScriptedLLM)
    assert 'pip install "agentws[openai]"' in line
