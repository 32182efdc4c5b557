"""A delegate: an agent that runs inside the run of another one, and answers only to it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import httpx2
import pytest

from agentws import Identity, RunContext
from agentws.errors import AgentError, BadRequest, DelegateFailed, NotSupported, TooManyAgents
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.testing.agents import Gate
from agentws.testing.agui import runs_of, verify
from agentws.testing.connect import connect, kind

from .harness import Talk, talk
from .nodes import nodes

Subagents = dict[str, tuple[str, str | None]]


async def researcher(ctx: RunContext) -> Any:
    yield f"found {ctx.text}"


async def run(agents: dict[str, Any], **changes: Any) -> tuple[Talk, dict[str, Any]]:
    """One message to the first of ``agents``; returns the talk and the run's terminal event."""
    async with talk(agents, **changes) as t:
        return t, await ended(t)


async def ended(t: Talk, content: str = "go", id: str = "m1") -> dict[str, Any]:
    await t.client.say(content, id)
    terminal = (await t.terminal())["event"]
    for one in runs_of(await t.log()).values():
        verify(one)
    await t.check()
    return dict(terminal)


def events(t: Talk, *kinds: str) -> list[dict[str, Any]]:
    return [one for one in t.client.events() if one["type"] in kinds]


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


async def test_a_delegate_that_fails_raises_in_its_caller_which_may_go_on() -> None:
    async def researcher(ctx: RunContext) -> Any:
        yield "begun"
        raise AgentError("The archive is closed.")

    async def lead(ctx: RunContext) -> Any:
        try:
            await ctx.delegate("researcher", "facts")
        except DelegateFailed as failed:
            yield f"Sorry: {failed.message}"

    t, terminal = await run({"lead": lead, "researcher": researcher})
    assert terminal["type"] == "RUN_FINISHED"
    (error,) = events(t, "SUBAGENT_ERROR")
    assert (error["message"], error["code"]) == ("The archive is closed.", "agent_error")
    said = "Sorry: The agent researcher failed: The archive is closed."
    assert (await t.texts())[-1] == said


class Busy(AgentError):
    code = "busy"
    retryable = True


@pytest.mark.parametrize(("error", "retryable"), [(Busy(), True), (ValueError("secret"), False)])
async def test_a_failure_that_is_not_handled_ends_the_run(
    error: Exception, retryable: bool
) -> None:
    async def researcher(ctx: RunContext) -> Any:
        raise error
        yield

    async def lead(ctx: RunContext) -> Any:
        yield await ctx.delegate("researcher", "facts")

    t, terminal = await run({"lead": lead, "researcher": researcher})
    assert (terminal["type"], terminal["code"]) == ("RUN_ERROR", "delegate_failed")
    assert terminal["metadata"]["agentws"]["retryable"] is retryable
    assert "secret" not in str([record.data for record in await t.log()])


class Unmakeable:
    def __call__(self) -> Any:
        raise OSError("no database")


async def not_a_generator(ctx: RunContext) -> Any:
    return "text"


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (e.RunError("It is broken."), "agent_error"),
        (e.RunFinished("", "", outcome=m.CancelledOutcome()), "agent_error"),
        (
            e.RunFinished("", "", outcome=m.InterruptOutcome([m.Interrupt("i", "approval")])),
            "not_supported",
        ),
        (1, "invalid_event"),
        (e.TextMessageEnd("unknown"), "invalid_event"),
        ("\ud800", "invalid_event"),
        (e.Custom("x", "\ud800"), "invalid_event"),
        (e.RunStarted("s", "r"), "invalid_event"),
    ],
)
async def test_what_a_delegate_must_not_yield_is_its_error(item: Any, code: str) -> None:
    async def researcher(ctx: RunContext) -> Any:
        yield "begun"
        yield item

    async def lead(ctx: RunContext) -> Any:
        with pytest.raises(DelegateFailed):
            await ctx.delegate("researcher", "facts")
        yield "going on"

    t, terminal = await run({"lead": lead, "researcher": researcher})
    assert terminal["type"] == "RUN_FINISHED"
    assert [one["code"] for one in events(t, "SUBAGENT_ERROR")] == [code]


@pytest.mark.parametrize("factory", [Unmakeable(), lambda ctx: not_a_generator(ctx), SystemExit])
async def test_a_delegate_that_can_not_be_made_is_an_error_too(factory: Any) -> None:
    async def lead(ctx: RunContext) -> Any:
        with pytest.raises(DelegateFailed):
            await ctx.delegate("other", "facts")
        yield "going on"

    async def raising(ctx: RunContext) -> Any:
        raise SystemExit(1)
        yield

    other = raising if factory is SystemExit else factory
    t, terminal = await run({"lead": lead, "other": other})
    assert terminal["type"] == "RUN_FINISHED"
    assert len(events(t, "SUBAGENT_ERROR")) == 1


async def test_a_delegate_that_hangs_ends_by_its_timeout() -> None:
    closed: list[str] = []

    async def researcher(ctx: RunContext) -> Any:
        try:
            yield "begun"
            await asyncio.Event().wait()
        finally:
            closed.append("closed")

    async def lead(ctx: RunContext) -> Any:
        with pytest.raises(DelegateFailed, match="too long"):
            await ctx.delegate("researcher", "facts", timeout=0.01)
        yield "going on"

    t, terminal = await run({"lead": lead, "researcher": researcher})
    assert terminal["type"] == "RUN_FINISHED" and closed == ["closed"]
    assert [one["code"] for one in events(t, "SUBAGENT_ERROR")] == ["timed_out"]


async def test_a_delegate_is_stopped_with_its_run() -> None:
    gate = Gate()

    async def researcher(ctx: RunContext) -> Any:
        yield "begun"
        await gate.wait()

    async def lead(ctx: RunContext) -> Any:
        yield await ctx.delegate("researcher", "facts")

    async with talk({"lead": lead, "researcher": researcher}) as t:
        await t.client.say("go", "m1")
        await gate.reached()
        await t.client.send({"type": "cancel", "id": "c1"})
        assert (await t.terminal())["event"]["outcome"]["type"] == "cancelled"
        await t.check()
        assert len(events(t, "SUBAGENT_ERROR")) == 1


async def test_a_caller_may_cancel_one_delegate_and_go_on() -> None:
    async def researcher(ctx: RunContext) -> Any:
        yield "begun"
        await asyncio.Event().wait()

    async def lead(ctx: RunContext) -> Any:
        task = asyncio.create_task(ctx.delegate("researcher", "facts"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        yield "going on"

    t, terminal = await run({"lead": lead, "researcher": researcher})
    assert terminal["outcome"]["type"] == "success"
    assert [one["code"] for one in events(t, "SUBAGENT_ERROR")] == ["cancelled"]
    assert (await t.texts())[-1] == "going on"


async def test_a_delegate_that_nobody_awaits_ends_with_its_run() -> None:
    gate = Gate()
    tasks: list[asyncio.Task[Any]] = []

    async def researcher(ctx: RunContext) -> Any:
        yield "begun"
        await gate.wait()
        yield "too late"

    async def lead(ctx: RunContext) -> Any:
        tasks.append(asyncio.create_task(ctx.delegate("researcher", "facts")))
        await gate.reached()
        yield "done"

    t, _ = await run({"lead": lead, "researcher": researcher})
    gate.open()
    with pytest.raises(DelegateFailed):
        await tasks[0]
    assert [one["code"] for one in events(t, "SUBAGENT_ERROR")] == ["interrupted"]


async def test_agents_that_delegate_without_end_stop_at_the_depth() -> None:
    depths: list[str] = []

    async def lead(ctx: RunContext) -> Any:
        depths.append(ctx.text)
        yield await ctx.delegate("lead", ctx.text + "+")

    t, terminal = await run({"lead": lead}, max_delegate_depth=3)
    assert terminal["code"] == "delegate_failed" and "without an end" in terminal["message"]
    assert depths == ["go", "go+", "go++", "go+++"]


async def test_a_run_has_a_limit_of_delegates() -> None:
    async def lead(ctx: RunContext) -> Any:
        for _ in range(3):
            await ctx.delegate("researcher", "facts")
        with pytest.raises(TooManyAgents):
            await ctx.delegate("researcher", "facts")
        yield "enough"

    t, _ = await run({"lead": lead, "researcher": researcher}, max_delegates=3)
    assert (await t.texts())[-1] == "enough"


async def test_a_delegate_of_an_unknown_name_or_without_a_task_is_refused() -> None:
    async def lead(ctx: RunContext) -> Any:
        with pytest.raises(BadRequest, match="one of researcher"):
            await ctx.delegate("reseacher", "facts")
        for nothing in list[Any]([" ", []]):
            with pytest.raises(BadRequest, match="a task"):
                await ctx.delegate("researcher", nothing)
        yield "fine"

    t, _ = await run({"lead": lead, "researcher": researcher})
    assert not events(t, "SUBAGENT_STARTED") and (await t.texts())[-1] == "fine"


async def test_a_delegate_can_not_give_the_conversation_away() -> None:
    async def researcher(ctx: RunContext) -> Any:
        with pytest.raises(NotSupported):
            await ctx.handoff("lead")
        yield "fine"

    async def lead(ctx: RunContext) -> Any:
        yield await ctx.delegate("researcher", "facts")

    t, _ = await run({"lead": lead, "researcher": researcher})
    assert (await t.texts())[-1] == "fine"


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


async def test_a_delegate_that_writes_without_end_is_stopped_by_the_size_of_the_run() -> None:
    async def endless(ctx: RunContext) -> Any:
        while True:
            yield "x" * 1000

    async def lead(ctx: RunContext) -> Any:
        yield await ctx.delegate("endless", "go")

    t, terminal = await run({"lead": lead, "endless": endless}, max_run_size=100_000)
    assert terminal["code"] == "delegate_failed"
    assert "too long" in terminal["message"]


async def test_the_run_of_a_dead_node_is_closed_with_its_delegates() -> None:
    gate = Gate()

    async def researcher(ctx: RunContext) -> Any:
        yield "begun"
        await gate.wait()

    async def lead(ctx: RunContext) -> Any:
        yield await ctx.delegate("researcher", "facts")

    async with nodes({"lead": lead, "researcher": researcher}, lease_ttl=0.5) as (one, two):
        async with connect(one.app) as first:
            await first.until("welcome")
            await first.say("go", "m1")
            await first.until("TEXT_MESSAGE_CONTENT")
            session = first.session
            one.freeze()
        async with connect(two.app, f"/ws/chat?session={session}") as second:
            await second.until(lambda frame: kind(frame) == "RUN_ERROR")
            kinds = [one["type"] for one in second.events()]
            assert kinds[-3:] == ["TEXT_MESSAGE_END", "SUBAGENT_ERROR", "RUN_ERROR"]


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
