"""The accepted forms of an agent."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from agentws.agents.agent import Agent
from agentws.agents.factory import Agents
from agentws.agents.output import Output
from agentws.agents.run_context import RunContext
from agentws.protocol.messages import Message, UserMessage
from agentws.store import SessionInfo

if TYPE_CHECKING:
    from somewhere import Unknown  # type: ignore[import-not-found]

SESSION = SessionInfo(id="ses_0123456789abcdef", owner=None, agent="agent", created=0, updated=0)


async def run(factory: Any) -> str:
    """The text of an agent of ``factory``; run twice, since each run makes an agent."""
    agents = Agents(factory)
    said = ["".join([str(one) async for one in await output(agents)]) for _ in range(2)]
    assert said[0] == said[1]
    return said[0]


async def output(agents: Agents) -> AsyncIterator[Output]:
    async def history(limit: int | None) -> list[Message]:
        return []

    context = RunContext(
        message=UserMessage(id="m1", content="hello"),
        session=SESSION,
        run_id="run_1",
        agent="agent",
        identity=None,
        history=history,
    )
    return (await agents.make("agent", SESSION)).run(context)


async def echo(ctx: Any) -> AsyncIterator[str]:
    yield f"echo {ctx.text}"


async def helped(helper: str, ctx: Any) -> AsyncIterator[str]:
    yield f"{helper} {ctx.text}"


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> Any:
        return function(*args, **options)

    return wrapper


def wrapped_without_a_word(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **options: Any) -> Any:
        return function(*args, **options)

    return wrapper


def reading_first(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(given: Any) -> Any:
        assert given.text
        return function(given)

    return wrapper


def awaited(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(ctx: Any) -> Any:
        return function(ctx)

    return wrapper


class Callable_:
    async def __call__(self, ctx: Any) -> AsyncIterator[str]:
        yield f"echo {ctx.text}"

    async def method(self, ctx: Any) -> AsyncIterator[str]:
        yield f"echo {ctx.text}"

    @staticmethod
    async def static(ctx: Any) -> AsyncIterator[str]:
        yield f"echo {ctx.text}"

    @classmethod
    async def of_class(cls, ctx: Any) -> AsyncIterator[str]:
        yield f"echo {ctx.text}"


class Passing:
    """A plain ``__call__`` that returns a generator."""

    def __call__(self, ctx: Any) -> Any:
        return echo(ctx)


class Steps:
    """An async iterator without ``aclose``."""

    def __init__(self, text: str) -> None:
        self._left = [text, "echo "]

    def __aiter__(self) -> Steps:
        return self

    async def __anext__(self) -> str:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


class Echo(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        yield f"echo {ctx.text}"


class OfSession(Agent):
    def __init__(self, session: SessionInfo) -> None:
        self._id = session.id

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        assert self._id == ctx.session.id
        yield f"echo {ctx.text}"


async def coroutine_of_a_generator(ctx: Any) -> Any:
    return echo(ctx)


async def annotated_coroutine(ctx: RunContext) -> AsyncIterator[str]:
    return echo(ctx)


async def making(session: Any) -> Agent:
    return OfSession(session)


def of_unknown(ctx: Unknown) -> Any:
    return echo(ctx)


def annotated_factory(given: SessionInfo) -> Any:
    return OfSession(given)


class OfAnything(Agent):
    def __init__(self, session: Any) -> None:
        self._id = session.id

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        assert self._id == ctx.session.id
        yield f"echo {ctx.text}"


class Named(Protocol):
    @property
    def id(self) -> str: ...


class OfNamed(OfAnything):
    def __init__(self, session: Named) -> None:
        super().__init__(session)


class OwnContext(RunContext):
    """As a host may annotate its functions."""


def of_own_context(ctx: OwnContext) -> Any:
    return echo(ctx)


AGENTS: dict[str, Any] = {
    "a generator function": echo,
    "one decorated with wraps": wrapped(echo),
    "one decorated twice": wrapped(wrapped(echo)),
    "one decorated without wraps": wrapped_without_a_word(echo),
    "one whose decorator reads the context": reading_first(echo),
    "one whose decorator is a coroutine function": awaited(echo),
    "an object that is called": Callable_(),
    "a class of such objects": Callable_,
    "an object that gives a generator": Passing(),
    "a method": Callable_().method,
    "a decorated method": wrapped(Callable_().method),
    "a static method": Callable_.static,
    "a static method as it stands in its class": vars(Callable_)["static"],
    "a class method": Callable_.of_class,
    "a partial": functools.partial(helped, "echo"),
    "a partial of a lambda": functools.partial(lambda helper, ctx: helped(helper, ctx), "echo"),
    "a lambda that gives a generator": lambda ctx: echo(ctx),
    "a lambda that reads the context": lambda c: helped("echo", c) if c.text else None,
    "a lambda that gives another iterator": lambda ctx: Steps(ctx.message.content),
    "a cached function": functools.cache(lambda ctx: Steps(ctx.text) if ctx.run_id else None),
    "a coroutine function that gives a generator": coroutine_of_a_generator,
    "one that is annotated": annotated_coroutine,
    "a function annotated for a type checker alone": of_unknown,
    "a lambda that gives a generator function": lambda: echo,
    "a class": Echo,
    "a class of a session": OfSession,
    "a bound run": Echo().run,
    "a lambda that makes an agent": lambda: Echo(),
    "a lambda that makes one of a session": lambda session: OfSession(session),
    "a function annotated as a factory": annotated_factory,
    "a coroutine function that makes one": making,
    "a partial of a class": functools.partial(OfSession),
    "a class of what it does not say": OfAnything,
    "a class of what an agent of any session needs": OfNamed,
    "a function of a context of its own kind": of_own_context,
}


@pytest.mark.parametrize("factory", AGENTS.values(), ids=AGENTS.keys())
async def test_every_accepted_form_makes_an_agent(factory: Any) -> None:
    assert await run(factory) == "echo hello"


async def test_a_callable_without_annotations_is_tried_with_a_session_once() -> None:
    given: list[type] = []

    def undecided(one: Any) -> Any:
        given.append(type(one))
        return echo(one)

    await run(undecided)
    assert given == [SessionInfo, RunContext, RunContext]


async def test_an_attribute_error_of_a_factory_is_raised() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        await run(lambda session: OfSession(session.no_such_thing))
