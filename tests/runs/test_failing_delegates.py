"""Delegates that fail: an error of theirs, which their caller may handle."""

from __future__ import annotations

from typing import Any

import pytest

from agentws import RunContext
from agentws.errors import AgentError, DelegateFailed
from agentws.protocol import events as e
from agentws.protocol import messages as m

from .delegating import events, run


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


EXITS = [SystemExit, GeneratorExit]


@pytest.mark.parametrize("factory", [Unmakeable(), lambda ctx: not_a_generator(ctx), *EXITS])
async def test_a_delegate_that_can_not_be_made_is_an_error_too(factory: Any) -> None:
    async def lead(ctx: RunContext) -> Any:
        with pytest.raises(DelegateFailed):
            await ctx.delegate("other", "facts")
        yield "going on"

    async def raising(ctx: RunContext) -> Any:
        raise factory(1)
        yield

    other = raising if factory in EXITS else factory
    t, terminal = await run({"lead": lead, "other": other})
    assert terminal["type"] == "RUN_FINISHED"
    assert len(events(t, "SUBAGENT_ERROR")) == 1
