"""What is no agent is refused when mounting, or by the run, with what to write instead."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from agentws.agents.agent import Agent
from agentws.agents.factory import Agents
from agentws.agents.run_context import RunContext
from agentws.errors import AgentError

from .test_factory import Echo, echo, output, reading_first, run, wrapped


async def text(ctx: Any) -> str:
    return "hello"


async def unannotated_text(ctx):  # type: ignore[no-untyped-def]
    return ctx.text


async def text_for_a_context(ctx: RunContext):  # type: ignore[no-untyped-def]
    return "hello"


def plain(ctx: Any) -> Any:
    yield "hello"


async def needing_two(ctx: Any, model: Any) -> AsyncIterator[str]:
    yield "hello"


async def needing_none() -> AsyncIterator[str]:
    yield "hello"


class PlainCall:
    def __call__(self, ctx: Any) -> Any:
        yield "hello"


class Returning(Agent):
    async def run(self, ctx: RunContext) -> str:  # type: ignore[override]
        return "hello"


class Plain(Agent):
    def run(self, ctx: RunContext) -> Any:
        yield "hello"


class Unfinished(Agent):
    """Has no ``run``."""


class Unrelated:
    """Has a ``run``, and was to be a subclass of ``Agent``."""

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        yield "hello"


class Model:
    """What an agent depends on."""


class OfModel(Agent):
    def __init__(self, model: Model) -> None:
        self._model = model

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        yield "hello"


@dataclasses.dataclass
class OfText(Agent):
    greeting: str

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        yield self.greeting


class OfContext(Agent):
    """Takes in its constructor what its ``run`` is given."""

    def __init__(self, ctx: RunContext) -> None:
        self._ctx = ctx

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        yield "hello"


def making_of_model(model: Model) -> Any:
    return OfModel(model)


REFUSED: dict[str, tuple[Any, str]] = {
    "a coroutine function annotated with text": (text, "give.* its text with `yield`"),
    "a coroutine function of a context": (text_for_a_context, "give.* its text with `yield`"),
    "a plain generator function": (plain, "plain generator.*`async def"),
    "a partial of one": (functools.partial(plain), "plain generator.*`async def"),
    "an object whose call is one": (PlainCall(), "plain generator.*`async def"),
    "a class whose run returns": (Returning, "with `yield` in it"),
    "a class whose run is a plain generator": (Plain, "plain generator.*`async def run"),
    "a class that is no Agent": (Unrelated, "Unrelated is no subclass of Agent"),
    "a class of the language": (str, "str is no subclass of Agent"),
    "a class without run": (Unfinished, "is abstract; expected run"),
    "a generator function that needs more": (needing_two, "functools.partial or a lambda"),
    "a generator function that takes nothing": (needing_none, "the context alone"),
    "a run that is not bound": (Echo.run, "the context alone"),
    "an agent": (Echo(), "which all users would share"),
    "a number": (42, "expected an Agent subclass"),
    "a factory that needs more": (lambda one, two: Echo(), "with a lambda"),
    "a class that needs another argument": (OfModel, "OfModel needs other.*with a lambda"),
    "a dataclass that needs another": (OfText, "OfText needs other.*with a lambda"),
    "a class that needs the context": (OfContext, "OfContext needs other.*with a lambda"),
    "a function that needs another": (
        making_of_model,
        "making_of_model needs other.*with a lambda",
    ),
    "a partial of such a function": (
        functools.partial(making_of_model),
        "needs other.*with a lambda",
    ),
    "an empty mapping": ({}, "empty mapping"),
    "a name that is a number": ({1: Echo}, "named 1; expected 1 to 128 printable"),
    "a name that is empty": ({"": Echo}, "named ''; expected 1 to 128 printable"),
    "a name that is too long": ({"a" * 129: Echo}, "expected 1 to 128 printable"),
    "a name with a line break": ({"a\nb": Echo}, "expected 1 to 128 printable"),
    "a name that is no Unicode": ({"\ud800": Echo}, "expected 1 to 128 printable"),
}


@pytest.mark.parametrize(("factory", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_a_visible_mistake_is_refused_when_mounting(factory: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        Agents(factory)


ANSWERS: dict[str, Any] = {
    "text of a coroutine": unannotated_text,
    "text of a lambda": lambda ctx: "hello",
    "a plain generator": lambda ctx: (word for word in "hello"),
    "one behind a decorator": wrapped(plain),
    "an async generator that was given no context": lambda: echo(None),
    "a list": lambda ctx: ["hello"],
    "text where the context was read": reading_first(lambda ctx: "hello"),
    "nothing where the context was read": reading_first(lambda ctx: None),
}


@pytest.mark.parametrize("factory", ANSWERS.values(), ids=ANSWERS.keys())
async def test_a_mistake_that_only_a_run_shows_ends_it_with_an_explanation(factory: Any) -> None:
    with pytest.raises(AgentError, match=r"write `async def agent\(ctx\)` .* `yield`"):
        await run(factory)


async def test_a_generator_returned_by_a_coroutine_is_closed_with_its_run() -> None:
    closed: list[str] = []

    async def generator(ctx: Any) -> AsyncIterator[str]:
        try:
            yield "one"
            yield "two"
        finally:
            closed.append("closed")

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        return generator(ctx)

    factory: Callable[[RunContext], Awaitable[Any]] = agent
    given: Any = await output(Agents(factory))  # type: ignore[arg-type]
    assert await anext(given) == "one"
    await given.aclose()
    assert closed == ["closed"]
