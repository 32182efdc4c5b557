"""What a context writes besides what its agent yields: in order, checked, and in time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentws import RunContext
from agentws.errors import InvalidEvent
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.store import SessionInfo
from agentws.testing.connect import kind

from .harness import talk


async def test_events_are_written_in_the_order_of_calls_and_yields() -> None:
    async def agent(ctx: RunContext) -> Any:
        yield "one "
        ctx.output.write(e.Custom("x.between", 1))
        yield "two"
        ctx.output.write(" three")

    async with talk(agent) as t:
        await t.client.send({"type": "send", "id": "m1", "content": "go"})
        await t.terminal()
        fold = await t.check()
        kinds = await t.kinds()
    assert fold.messages[-1].content == "one two three"
    first = kinds.index("TEXT_MESSAGE_CONTENT")
    assert kinds[first : first + 3] == ["TEXT_MESSAGE_CONTENT", "CUSTOM", "TEXT_MESSAGE_CONTENT"]


async def test_what_another_task_writes_is_sent_while_the_agent_waits() -> None:
    seen = asyncio.Event()

    async def agent(ctx: RunContext) -> Any:
        async def work() -> None:
            await asyncio.sleep(0)
            ctx.output.write("working")

        task = asyncio.create_task(work())
        await seen.wait()
        await task
        yield " done"

    async with talk(agent) as t:
        await t.client.send({"type": "send", "id": "m1", "content": "go"})
        await t.client.until(lambda frame: kind(frame) == "TEXT_MESSAGE_CONTENT")
        seen.set()
        await t.terminal()
        assert await t.texts() == ["working done"]


@pytest.mark.parametrize(
    "item", [e.RunFinished("s", "r"), e.RunStarted("s", "r"), 1, e.TextMessageEnd("unknown")]
)
async def test_what_is_not_legal_is_refused_where_it_is_written(item: Any) -> None:
    refused: list[InvalidEvent] = []

    async def agent(ctx: RunContext) -> Any:
        try:
            ctx.output.write(item)
        except InvalidEvent as error:
            refused.append(error)
        yield "fine"

    async with talk(agent) as t:
        await t.client.send({"type": "send", "id": "m1", "content": "go"})
        await t.terminal()
        assert await t.texts() == ["fine"]
    assert len(refused) == 1


async def test_nothing_is_written_after_the_end_of_the_run() -> None:
    kept: list[RunContext] = []

    async def agent(ctx: RunContext) -> Any:
        kept.append(ctx)
        yield "fine"

    async with talk(agent) as t:
        await t.client.send({"type": "send", "id": "m1", "content": "go"})
        await t.terminal()
        with pytest.raises(InvalidEvent, match="has ended"):
            kept[0].output.write("late")
        await t.check()


async def test_a_context_without_a_run_says_so() -> None:
    async def history(limit: int | None) -> list[m.Message]:
        return []

    context = RunContext(
        message=m.UserMessage("m1", "go"),
        session=SessionInfo(id="ses_1", agent="a", created=0, updated=0),
        run_id="run_1",
        agent="a",
        identity=None,
        history=history,
    )
    with pytest.raises(RuntimeError, match="belongs to no run"):
        context.output.write("text")
