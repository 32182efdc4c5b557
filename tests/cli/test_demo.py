"""The demo agent: every show is a legal run, and an API key selects the model."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from agentws import MemoryFileStore
from agentws.agents.commands import CommandContext, find_command
from agentws.cli.demo import INTRO, SHOWS, Demo, demo_agents, llm_from, offline_llm
from agentws.cli.demo.texts import MARKDOWN
from agentws.errors import BadRequest
from agentws.protocol.messages import (
    ActivityMessage,
    AssistantMessage,
    Message,
    ReasoningMessage,
    UserMessage,
)
from agentws.testing.fakellm import FakeLLM, ScriptedLLM
from tests.contexts import SESSION
from tests.runs.asking import answer, events_of, questions
from tests.runs.harness import Talk, talk


@asynccontextmanager
async def stage(**options: Any) -> AsyncIterator[Talk]:
    agents = demo_agents(ScriptedLLM(["From the model."]), pace=0)
    async with talk(agents, files=MemoryFileStore(), **options) as one:
        yield one


async def said(one: Talk, word: str, id: str) -> str:
    """The text of the answer to ``word``, whose run must be legal and succeed."""
    await one.client.say(word, id)
    ended = await one.terminal()
    assert ended["event"]["type"] == "RUN_FINISHED", ended
    assert ended["event"]["outcome"]["type"] == "success", ended
    fold = await one.check()
    return "".join(
        message.content or ""
        for message in fold.messages
        if isinstance(message, AssistantMessage) and message.subagent_run_id is None
    )


ASKING = {"approve", "ask", "form", "locate"}


@pytest.mark.parametrize("word", sorted(SHOWS.keys() - ASKING - {"error"}))
async def test_every_demo_show_is_a_legal_run(word: str) -> None:
    async with stage() as one:
        assert await said(one, word, "m1")


def test_the_intro_names_every_show_and_command() -> None:
    commands = [command.name for command in Demo(ScriptedLLM([])).commands()]
    assert all(f"`{word}`" in INTRO for word in SHOWS)
    assert all(f"`/{name}" in INTRO for name in commands)


async def test_a_shows_name_is_case_insensitive_and_may_follow_a_mention() -> None:
    async with stage() as one:
        assert await said(one, " Demo ", "m1") == INTRO
        assert await said(one, "@demo markdown", "m2") == INTRO + MARKDOWN


async def test_any_other_text_goes_to_the_model() -> None:
    async with stage() as one:
        assert await said(one, "a long story about a tool", "m1") == "From the model."


async def test_the_error_show_fails_after_some_text() -> None:
    async with stage() as one:
        await one.client.say("error", "m1")
        assert (await one.terminal())["event"]["message"].startswith("This is the error")
        assert (await one.texts())[0]


async def test_a_tool_shows_its_progress_and_a_failure_among_parallel_calls() -> None:
    async with stage() as one:
        await said(one, "tool", "m1")
        done = [event["value"]["done"] for event in events_of(one.client, "CUSTOM")]
        assert done == [1, 2, 3, 4]
        text = await said(one, "parallel", "m2")
        assert "apple: It costs 3" in text and "stone: Nobody sells a stone." in text
        assert len(events_of(one.client, "TOOL_CALL_START")) == 4


Answer = dict[str, Any]
APPROVED: Answer = {"approved": True}
EDITED: Answer = {"approved": True, "editedArgs": {"to": "Grace", "text": "Hi"}}
DENIED: Answer = {"approved": False, "reason": "Too dear"}
TRIP: Answer = {"city": "Oslo", "nights": 3, "room": "double", "breakfast": False}


@pytest.mark.parametrize(
    ("word", "payload", "text"),
    [
        ("approve", APPROVED, "Done. To Ada: The weather is fine."),
        ("approve", EDITED, "Done. To Grace: Hi"),
        ("approve", DENIED, "Too dear"),
        ("ask", "small", "A small one, then."),
        ("form", TRIP, "**Oslo**, 3 nights, a double room without breakfast."),
        ("locate", {"content": "at home"}, "You are here: at home"),
    ],
)
@pytest.mark.parametrize("park", [300.0, 0.01], ids=["in memory", "called again"])
async def test_a_question_of_the_demo_is_answered(
    word: str, payload: Any, text: str, park: float
) -> None:
    async with stage(park=park) as one:
        await one.client.say(word, "m1")
        asked = (await questions(one.client))[0]
        await asyncio.sleep(0.05)
        await one.client.ask(answer("a1", asked["id"], payload))
        await one.terminal()
        assert (await one.texts())[-1].endswith(text)  # type: ignore[union-attr]


@pytest.mark.parametrize("word", ["ask", "form"])
async def test_a_question_of_the_demo_may_be_declined(word: str) -> None:
    async with stage() as one:
        await one.client.say(word, "m1")
        asked = (await questions(one.client))[0]
        await one.client.ask(answer("a1", asked["id"], status="cancelled"))
        await one.terminal()
        assert ", then. " in ((await one.texts())[-1] or "")


async def test_a_tool_that_no_client_has_times_out_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agentws.cli.demo.talking.LOCATING", 0.1)
    async with stage() as one:
        await one.client.say("locate", "m1")
        await questions(one.client)
        await one.terminal()
        assert "No client called get_location in time." in ((await one.texts())[-1] or "")


async def test_the_slow_answer_can_be_steered() -> None:
    async with stage() as one:
        await one.client.say("steer", "m1")
        await one.client.until("TEXT_MESSAGE_START")
        await one.client.ask(
            {"type": "send", "id": "m2", "content": "In the north", "overlap": "steer"}
        )
        await one.terminal()
        outcomes = [event["outcome"] for event in events_of(one.client, "message.steered")]
        assert outcomes == ["delivered"]
        assert any("Understood: In the north" in (text or "") for text in await one.texts())


async def test_reasoning_sources_and_a_part_are_shown() -> None:
    async with stage() as one:
        for number, word in enumerate(["reason", "sources", "chart"]):
            await said(one, word, f"m{number}")
        messages = (await one.check()).messages
    kinds = [part.activity_type for part in messages if isinstance(part, ActivityMessage)]
    assert kinds == ["agentws.source", "agentws.source", "chart"]
    assert any(isinstance(message, ReasoningMessage) for message in messages)


async def test_the_shared_list_is_changed_by_both_sides() -> None:
    async with stage() as one:
        await said(one, "state", "m1")
        add = [{"op": "add", "path": "/items/-", "value": "tea"}]
        await one.client.ask({"type": "state", "id": "s1", "patch": add})
        assert "bread, tea" in await said(one, "state", "m2")
        full = [{"op": "add", "path": "/items", "value": ["x"] * 51}]
        refused = await one.client.ask({"type": "state", "id": "s2", "patch": full})
        assert "has room for 50" in refused["message"]
        none = [{"op": "add", "path": "", "value": 7}]
        refused = await one.client.ask({"type": "state", "id": "s3", "patch": none})
        assert refused["code"] == "forbidden"
        assert "I added apples" in await said(one, "state", "m3")


async def test_the_demo_makes_a_file_and_names_those_that_it_gets() -> None:
    async with stage() as one:
        assert "harvest.csv, " in await said(one, "file", "m1")
        made = next(
            part.content
            for part in (await one.check()).messages
            if isinstance(part, ActivityMessage)
        )
        frame = {"type": "send", "id": "m2", "content": "Look", "attachments": [made["id"]]}
        assert (await one.client.ask(frame))["type"] == "accepted"
        await one.terminal()
        assert any("I got `harvest.csv`: text/csv" in (text or "") for text in await one.texts())


async def test_the_poet_takes_over_and_gives_back() -> None:
    async with stage() as one:
        assert "I am the poet." in await said(one, "handoff", "m1")
        assert "I was told of tool" in await said(one, "tool", "m2")
        assert INTRO in await said(one, "back", "m3")
        assert "It wrote:" in await said(one, "delegate", "m4")
        chosen = [event["agent"] for event in events_of(one.client, "agent.chosen")]
        assert chosen == ["poet", "demo"]


def test_the_demo_agent_does_not_have_the_poets_name() -> None:
    assert list(demo_agents(offline_llm(), name="shop")) == ["shop", "poet"]
    with pytest.raises(ValueError, match="another name"):
        demo_agents(offline_llm(), name="poet")


async def test_the_offline_model_uses_earlier_messages() -> None:
    llm = offline_llm(pace=0)
    earlier: list[Message] = [
        UserMessage(id="1", content="My name is Ada"),
        AssistantMessage(id="2", content="Hello"),
    ]
    asked = UserMessage(id="3", content="Who am I?")
    assert "My name is Ada" in await reply(llm_messages := [*earlier, asked], llm)
    assert INTRO in await reply(llm_messages[2:], llm)


async def reply(messages: list[Message], llm: object) -> str:
    assert isinstance(llm, ScriptedLLM)
    async with aclosing(llm.stream(messages)) as pieces:
        return "".join([piece async for piece in pieces if isinstance(piece, str)])


async def command(text: str) -> str:
    async def history(limit: int | None) -> list[Message]:
        return [UserMessage(id="1", content="Hi"), AssistantMessage(id="2", content="Hello")]

    name, _, args = text.partition(" ")
    ctx = CommandContext(session=SESSION, identity=None, history=history)
    return await find_command(Demo(ScriptedLLM([])).commands(), name).run(ctx, args)


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
