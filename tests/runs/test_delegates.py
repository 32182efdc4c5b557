"""A delegate: an agent that runs inside the run of another one, and answers only to it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import httpx2

from agentws import Identity, RunContext
from agentws.errors import AgentError
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.testing.connect import connect

from .delegating import events, researcher, run
from .harness import talk


async def test_a_delegate_returns_its_text_and_its_events_are_attributed() -> None:
    async def lead(ctx: RunContext) -> Any:
        yield "Let me see. "
        found = await ctx.delegate("researcher", "facts")
        yield f"It {found}."

    t, _ = await run({"lead": lead, "researcher": researcher})
    (started,) = events(t, "SUBAGENT_STARTED")
    assert (started["name"], started["description"]) == ("researcher", "facts")
    id = started["subagentRunId"]
    starts = events(t, "TEXT_MESSAGE_START")
    assert [(one["name"], one.get("subagentRunId")) for one in starts] == [
        ("lead", None),
        ("researcher", id),
        ("lead", None),
    ]
    (finished,) = events(t, "SUBAGENT_FINISHED")
    assert finished["subagentRunId"] == id and finished["outcome"] == {"type": "success"}
    fold = await t.check()
    said = [one for one in fold.messages if isinstance(one, m.AssistantMessage)]
    assert [(one.content, one.subagent_run_id) for one in said] == [
        ("Let me see. ", None),
        ("found facts", id),
        ("It found facts.", None),
    ]


async def test_a_delegate_returns_the_newest_of_its_messages() -> None:
    async def researcher(ctx: RunContext) -> Any:
        yield "thinking"
        yield e.ToolCallStart("c1", "look")
        yield e.ToolCallEnd("c1")
        yield e.ToolCallResult("r1", "c1", "found")
        yield e.TextMessageChunk("final", delta="the ")
        yield e.TextMessageChunk("final", delta="answer")

    async def lead(ctx: RunContext) -> Any:
        yield await ctx.delegate("researcher", "facts")

    t, _ = await run({"lead": lead, "researcher": researcher})
    assert (await t.texts())[-1] == "the answer"
    calls = events(t, "TOOL_CALL_START", "TOOL_CALL_END", "TOOL_CALL_RESULT")
    assert len({one["subagentRunId"] for one in calls}) == 1


async def test_a_delegate_returns_the_result_that_it_ends_with() -> None:
    async def researcher(ctx: RunContext) -> Any:
        yield "in words"
        yield e.RunFinished("", "", result={"sources": 3})

    async def lead(ctx: RunContext) -> Any:
        result = await ctx.delegate("researcher", "facts")
        yield f"{result['sources']} sources"

    t, _ = await run({"lead": lead, "researcher": researcher})
    assert (await t.texts())[-1] == "3 sources"
    assert events(t, "SUBAGENT_FINISHED")[0]["result"] == {"sources": 3}


async def test_a_delegate_has_its_own_history_and_its_callers_identity() -> None:
    seen: list[Any] = []

    async def researcher(ctx: RunContext) -> Any:
        history = await ctx.history()
        seen.extend([ctx.agent, ctx.text, ctx.identity, [one.content for one in history]])
        seen.append([one.content for one in await ctx.history(limit=1)])
        yield ""

    async def lead(ctx: RunContext) -> Any:
        ctx.identity = Identity("ann")
        given = [m.UserMessage("u1", "before")]
        yield await ctx.delegate("researcher", "facts", history=given)
        assert ctx.text == "go" and ctx.agent == "lead"

    await run({"lead": lead, "researcher": researcher})
    assert seen == ["researcher", "facts", Identity("ann"), ["before", "facts"], ["facts"]]


async def test_delegates_run_in_parallel_and_each_gets_its_own_text() -> None:
    meeting = asyncio.Barrier(3)

    async def researcher(ctx: RunContext) -> Any:
        for piece in range(5):
            await meeting.wait()
            yield f"{ctx.text}{piece}"

    async def lead(ctx: RunContext) -> Any:
        tasks = [ctx.delegate("researcher", name) for name in "abc"]
        yield " ".join(await asyncio.gather(*tasks))

    t, _ = await run({"lead": lead, "researcher": researcher})
    texts = await t.texts()
    each = ["".join(f"{name}{piece}" for piece in range(5)) for name in "abc"]
    assert sorted(map(str, texts[:3])) == each
    assert texts[3] == " ".join(each)


async def test_a_delegate_may_delegate() -> None:
    async def lead(ctx: RunContext) -> Any:
        yield await ctx.delegate("middle", "facts")

    async def middle(ctx: RunContext) -> Any:
        yield "(" + await ctx.delegate("researcher", ctx.text) + ")"

    t, _ = await run({"lead": lead, "middle": middle, "researcher": researcher})
    assert (await t.texts())[-1] == "(found facts)"
    outer, inner = events(t, "SUBAGENT_STARTED")
    assert inner["parentSubagentRunId"] == outer["subagentRunId"]
    assert "parentSubagentRunId" not in outer


async def test_agents_of_a_run_share_its_state_and_its_usage() -> None:
    async def deep(ctx: RunContext) -> Any:
        assert ctx.state == {"a": 1}
        yield e.StateDelta([{"op": "add", "path": "/b", "value": 2}])
        assert ctx.state == {"a": 1, "b": 2}
        ctx.report_usage(m.TokenUsage(provider="p", model="deep", output_tokens=1))

    async def middle(ctx: RunContext) -> Any:
        await ctx.delegate("deep", "go")
        yield "x"

    async def lead(ctx: RunContext) -> Any:
        yield e.StateSnapshot({"a": 1})
        await ctx.delegate("middle", "go")
        assert ctx.state == {"a": 1, "b": 2}
        yield "done"

    _, terminal = await run({"lead": lead, "middle": middle, "deep": deep})
    assert terminal["type"] == "RUN_FINISHED"
    assert [one["model"] for one in terminal["usage"]] == ["deep"]


async def test_a_delegates_snapshot_of_its_messages_is_not_the_sessions() -> None:
    async def researcher(ctx: RunContext) -> Any:
        yield e.MessagesSnapshot([m.UserMessage("other", "its own")])
        yield "found"

    async def lead(ctx: RunContext) -> Any:
        yield await ctx.delegate("researcher", "facts")

    t, _ = await run({"lead": lead, "researcher": researcher})
    assert not events(t, "MESSAGES_SNAPSHOT")


async def test_a_long_task_is_shortened_where_clients_see_it() -> None:
    async def lead(ctx: RunContext) -> Any:
        yield await ctx.delegate("researcher", "x" * 10_000)

    t, _ = await run({"lead": lead, "researcher": researcher})
    (started,) = events(t, "SUBAGENT_STARTED")
    assert len(started["description"]) == 500
    assert len(str((await t.texts())[-1])) == len("found ") + 10_000


async def lead_of_one(ctx: RunContext) -> Any:
    await ctx.delegate("researcher", "facts")
    yield "the answer"


async def test_a_client_that_is_sent_text_only_gets_the_answer_and_no_delegates() -> None:
    async with talk({"lead": lead_of_one, "researcher": researcher}) as t:
        async with connect(t.client.app, "/ws/chat?stream=1", native=False) as simple:
            await simple.send("go")
            first, text = await simple.receive(), await simple.until("text")
            assert (first["type"], first["content"]) == ("delta", "the answer")
            assert text["content"] == "the answer"
        transport = httpx2.ASGITransport(t.client.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
            asked = {"content-type": "text/plain", "accept": "text/plain"}
            response = await http.post("/ask", content="go", headers=asked)
            assert response.text == "the answer\n"


async def test_any_tree_of_delegates_is_a_legal_run() -> None:
    """Random agents that speak, call tools, delegate in parallel, fail and give up."""
    for seed in range(60):
        dice = random.Random(seed)

        async def agent(ctx: RunContext, dice: random.Random = dice) -> Any:
            for step in range(dice.randrange(1, 5)):
                match dice.randrange(7):
                    case 0:
                        yield f"text {step}"
                    case 1:
                        yield e.TextMessageChunk(f"{dice.random()}", delta="chunk")
                    case 2:
                        yield e.ToolCallStart(f"{dice.random()}", "tool")
                    case 3:
                        yield e.StepStarted("same name")
                        await asyncio.sleep(0)
                        yield e.StepFinished("same name")
                    case 4:
                        raise AgentError("gives up")
                    case _:
                        calls = [
                            ctx.delegate("a", "go", timeout=1) for _ in range(dice.randrange(3))
                        ]
                        await asyncio.gather(*calls, return_exceptions=True)

        t, _ = await run({"a": agent, "b": agent}, max_delegates=20, max_delegate_depth=3)
        started, over = (
            events(t, "SUBAGENT_STARTED"),
            events(t, "SUBAGENT_FINISHED", "SUBAGENT_ERROR"),
        )
        ids = sorted(one["subagentRunId"] for one in started)
        assert ids == sorted(one["subagentRunId"] for one in over), seed
