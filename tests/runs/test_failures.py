"""Errors that an agent raises: alone, or in the exception group of a task group."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentws.agents.llm import LLMRateLimited
from agentws.agents.run_context import RunContext
from agentws.errors import AgentError, NotFound, TooLarge
from agentws.protocol.events import RunFinished
from agentws.runs.failure import error_for_user, leaves
from agentws.testing.agents import Gate, Raise, Script

from .harness import talk


class Declined(AgentError):
    code = "declined"
    retryable = True
    summary = "Your card was declined."


SECRET = ValueError("secret-key-123")


def group(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("unhandled errors in a TaskGroup", errors)


async def outcome(agent: Any) -> tuple[str, str, bool]:
    """The code, the message and ``retryable`` of the error that a run of ``agent`` ends with."""
    async with talk(agent) as one:
        await one.client.say("go", "m1")
        event = (await one.terminal())["event"]
        await one.check()
        assert event["type"] == "RUN_ERROR"
        return event["code"], event["message"], event["metadata"]["agentws"]["retryable"]


async def fail(error: BaseException) -> None:
    raise error


async def in_asyncio(ctx: RunContext) -> AsyncIterator[str]:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fail(Declined()))
        tasks.create_task(asyncio.sleep(100))
        await asyncio.sleep(100)
    yield "never"


async def in_anyio(ctx: RunContext) -> AsyncIterator[str]:
    async with anyio.create_task_group() as outer:
        async with anyio.create_task_group() as inner:
            inner.start_soon(fail, Declined())
            outer.start_soon(anyio.sleep, 100)
            await anyio.sleep(100)
    yield "never"


@pytest.mark.parametrize("agent", [in_asyncio, in_anyio])
async def test_an_agent_error_raised_in_a_task_group_is_shown_to_the_user(agent: Any) -> None:
    assert await outcome(agent) == ("declined", "Your card was declined.", True)


SAID = {
    "one": (group(Declined()), ("declined", "Your card was declined.", True)),
    "the first of several": (
        group(AgentError("First."), Declined()),
        ("agent_error", "First.", False),
    ),
    "nested": (
        group(group(group(LLMRateLimited("Busy."))), Declined()),
        ("llm_rate_limited", "Busy.", True),
    ),
    "an error of the gateway": (
        group(TooLarge("The page is too large."), NotFound()),
        ("too_large", "The page is too large.", False),
    ),
}


@pytest.mark.parametrize(("error", "said"), SAID.values(), ids=SAID)
async def test_a_group_of_agent_errors_ends_the_run_with_the_first_of_them(
    error: BaseException, said: tuple[str, str, bool]
) -> None:
    assert await outcome(Script(Raise(error))) == said


# Errors of the agent's own classes, with members of any type


class Numbered(AgentError):
    code = 409  # type: ignore[assignment]


class Coded(AgentError):
    def __init__(self, code: Any) -> None:
        super().__init__("Sold out.")
        vars(self)["code"] = code


class Bare(AgentError):
    def __init__(self) -> None:
        """Without ``super().__init__()``, as in many classes of errors."""


class Maybe(AgentError):
    retryable = "yes"  # type: ignore[assignment]


class Placed(AgentError):
    status = "409"  # type: ignore[assignment]


ODD = {
    "a number as code": (Numbered("Sold out."), ("409", "Sold out.", False)),
    "no code": (Coded(None), ("agent_error", "Sold out.", False)),
    "half a character as code": (Coded("x\ud83d\x00"), ("x?", "Sold out.", False)),
    "a word as retryable": (Maybe("Sold out."), ("agent_error", "Sold out.", True)),
    "a word as status": (Placed("Sold out."), ("agent_error", "Sold out.", False)),
    "not initialised": (Bare(), ("agent_error", "The agent failed.", False)),
    "half a character": (AgentError("Sold\ud83d out."), ("agent_error", "Sold? out.", False)),
    "no time": (AgentError("Sold out.", retry_after=math.inf), ("agent_error", "Sold out.", False)),
    "in a group": (group(Numbered("Sold out.")), ("409", "Sold out.", False)),
}


@pytest.mark.parametrize(("error", "said"), ODD.values(), ids=ODD)
async def test_an_error_with_members_of_the_wrong_type_leaves_the_log_readable(
    error: BaseException, said: tuple[str, str, bool]
) -> None:
    assert await outcome(Script(Raise(error))) == said


MIXED = {
    "with another error": group(Declined(), SECRET),
    "another error first": group(SECRET, Declined()),
    "nested": group(Declined(), group(Declined(), group(SECRET))),
    "with an exit": group(Declined(), SystemExit(3)),
    "with a cancellation of its own": group(Declined(), asyncio.CancelledError()),
    "of its own cancellations": group(asyncio.CancelledError(), group(asyncio.CancelledError())),
}


@pytest.mark.parametrize("error", MIXED.values(), ids=MIXED)
async def test_a_group_with_any_other_exception_shows_no_details(error: BaseException) -> None:
    assert await outcome(Script(Raise(error))) == ("agent_error", "The agent failed.", False)


async def test_the_server_log_has_the_traceback_of_a_mixed_group(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await outcome(Script(Raise(group(Declined(), SECRET))))
    assert "secret-key-123" in caplog.text
    assert "Declined" in caplog.text
    assert "Traceback" in caplog.text


async def test_the_server_log_has_every_message_and_cause_of_a_group(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caused = AgentError("Second.")
    caused.__cause__ = SECRET
    await outcome(Script(Raise(group(AgentError("First."), caused))))
    said = [record.getMessage() for record in caplog.records if record.name == "agentws.run"]
    assert [line.split(": ")[1] for line in said] == ["First.", "Second."]
    assert caplog.text.count("secret-key-123") == 1


@pytest.mark.parametrize("error", [Declined(), SECRET], ids=["its own", "another"])
async def test_a_cancel_takes_precedence_over_the_errors_that_it_causes(error: Exception) -> None:
    gate = Gate()

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(breaks())
            yield "before"
            await gate.wait()

    async def breaks() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            raise error from None

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.ask({"type": "cancel", "id": "c1"})
        assert (await one.terminal())["event"]["outcome"] == {"type": "cancelled"}
        await one.check()


async def test_a_group_with_the_cancellation_of_a_cancel_ends_the_run_cancelled() -> None:
    gate = Gate()

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        try:
            await gate.wait()
        except asyncio.CancelledError as cancelled:
            raise group(Declined(), group(cancelled)) from None
        yield "never"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.ask({"type": "cancel", "id": "c1"})
        assert (await one.terminal())["event"]["outcome"] == {"type": "cancelled"}
        await one.check()


async def test_a_run_that_times_out_in_a_task_group_ends_timed_out() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 10_000)
        yield "never"

    async with talk(agent, run_timeout=5.0) as one:
        await one.client.say("go", "m1")
        assert (await one.terminal())["event"]["code"] == "timed_out"


# Task groups and timeouts of an agent that cancel its run while that gives way to others


async def busy_in_asyncio(ctx: RunContext) -> AsyncGenerator[str, None]:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fail(Declined()))
        while True:
            yield "word "


async def busy_in_anyio(ctx: RunContext) -> AsyncIterator[str]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fail, Declined())
        while True:
            yield "word "


async def busy_within(ctx: RunContext) -> AsyncIterator[str]:
    async with aclosing(busy_in_asyncio(ctx)) as words:
        async for word in words:
            yield word


@pytest.mark.parametrize("agent", [busy_in_asyncio, busy_in_anyio, busy_within])
async def test_a_task_group_that_fails_while_its_agent_is_at_a_yield_fails_the_run(
    agent: Any,
) -> None:
    assert await outcome(agent) == ("declined", "Your card was declined.", True)


async def enough_in_asyncio(ctx: RunContext) -> AsyncIterator[str]:
    try:
        async with asyncio.timeout(0.01):
            while True:
                yield "word "
    except TimeoutError:
        yield "and so on"


async def enough_in_anyio(ctx: RunContext) -> AsyncIterator[str]:
    with anyio.move_on_after(0.01):
        while True:
            yield "word "
    yield "and so on"


@pytest.mark.parametrize("agent", [enough_in_asyncio, enough_in_anyio])
async def test_an_agent_can_handle_its_own_timeout(agent: Any) -> None:
    async with talk(agent) as one:
        await one.client.say("go", "m1")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"
        await one.check()
        (said,) = await one.texts()
        assert said is not None and said.endswith("word and so on")


async def returning(ctx: RunContext) -> AsyncIterator[str]:
    with anyio.move_on_after(0.01):
        while True:
            yield "word "


async def test_an_agent_that_returns_on_its_own_timeout_succeeds() -> None:
    async with talk(returning) as one:
        await one.client.say("go", "m1")
        assert (await one.terminal())["event"]["outcome"] == {"type": "success"}
        await one.check()


async def test_cancelling_an_agent_that_never_waits_ends_its_run_cancelled() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 10_000)
            while True:
                yield "word "

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        await one.client.ask({"type": "cancel", "id": "c1"})
        assert (await one.terminal())["event"]["outcome"] == {"type": "cancelled"}
        await one.check()


async def test_closing_a_task_group_around_a_yield_logs_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Gate()

    async def agent(ctx: RunContext) -> AsyncIterator[Any]:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(gate.wait())
            yield RunFinished("x", "y")

    with caplog.at_level(logging.ERROR):
        async with talk(agent) as one:
            await one.client.say("go", "m1")
            await one.terminal()
    assert caplog.records == []


errors = st.sampled_from([AgentError("a"), Declined("b"), NotFound("c"), SECRET, SystemExit(1)])
trees = st.recursive(
    errors.map(lambda error: [error]),
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(
        lambda made: [group(*(error for one in made for error in one))]
    ),
    max_leaves=8,
)


@given(trees)
def test_the_error_of_a_group_does_not_depend_on_its_nesting(tree: list[BaseException]) -> None:
    flat = list(leaves(tree[0]))
    assert list(leaves(group(*tree))) == flat
    wholly = all(isinstance(leaf, AgentError | NotFound) for leaf in flat)
    assert error_for_user(tree[0]) is (flat[0] if wholly else None)


def test_a_deeply_nested_group_is_read_without_recursion() -> None:
    error: BaseException = Declined()
    for _ in range(20_000):
        error = group(error)
    assert isinstance(error_for_user(error), Declined)
    while isinstance(error, BaseExceptionGroup):
        # Freed from the outside in: freeing the whole at once would recurse.
        (error,) = error.exceptions
