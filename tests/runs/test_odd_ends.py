"""The end that an agent yields is on its node what readers of the log get, in whatever form."""

from __future__ import annotations

from typing import Any

import pytest

from agentws import RunContext
from agentws.errors import DelegateFailed
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.testing.agents import Script
from agentws.testing.laws import violations

from .harness import talk


class OwnError(e.RunError, frozen=True):
    """Of a host that keeps more with its errors."""

    cause: str | None = None


class OwnOutcome(m.InterruptOutcome, frozen=True, tag="interrupt"):
    """Likewise."""

    asked_by: str | None = None


QUESTION = m.Interrupt("q1", "approval", message="May I?")
AS_JSON: Any = {"id": "q1", "reason": "approval", "message": "May I?"}


def interrupting(outcome: Any) -> e.RunFinished:
    return e.RunFinished("", "", outcome=outcome)


ASKING = {
    "an outcome of a subclass": interrupting(OwnOutcome([QUESTION])),
    "an outcome as JSON": interrupting({"type": "interrupt", "interrupts": [AS_JSON]}),
    "a question as JSON": interrupting(m.InterruptOutcome([AS_JSON])),
}


async def agent(ctx: RunContext) -> Any:
    if ctx.answers:
        yield "so be it"
    elif ctx.text == "fail":
        yield OwnError("It is broken.")
    else:
        yield ASKING[ctx.text]


@pytest.mark.parametrize("form", ASKING)
async def test_a_question_in_any_form_is_open_where_it_was_asked(form: str) -> None:
    async with talk(agent) as one:
        await one.client.say(form, "m1")
        assert (await one.terminal())["event"]["outcome"]["type"] == "interrupt"
        answer = {"type": "answer", "id": "a1", "interrupt": "q1", "payload": "yes"}
        assert (await one.client.ask(answer))["type"] == "accepted"
        assert await one.client.answer() == "so be it"
        await one.check()


async def test_an_error_of_a_subclass_ends_the_run_once() -> None:
    async with talk(agent) as one:
        await one.client.say("fail", "m1")
        assert (await one.terminal())["event"]["message"] == "It is broken."
        await one.client.say("fail", "m2")
        await one.terminal()
        await one.check()
        assert violations(await one.log()) == []


@pytest.mark.parametrize("form", ASKING)
async def test_a_delegate_does_not_end_with_a_question_in_any_form(form: str) -> None:
    async def other(ctx: RunContext) -> Any:
        yield ASKING[form]

    async def lead(ctx: RunContext) -> Any:
        with pytest.raises(DelegateFailed):
            await ctx.delegate("other", "facts")
        yield "going on"

    async with talk({"lead": lead, "other": other}) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "going on"


async def test_no_attempt_follows_an_error_that_an_agent_passes_on() -> None:
    """As from another gateway, where one did: clients would wait for it."""
    told = {"nextAttempt": 2, "retryable": True}
    async with talk(Script(e.RunError("lost", metadata={"agentws": told, "of": "them"}))) as one:
        await one.client.say("go", "m1")
        assert (await one.terminal())["event"]["metadata"] == {
            "agentws": {"retryable": True},
            "of": "them",
        }
        await one.check()
