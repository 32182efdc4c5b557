"""The accepted forms of an agent; anything else is refused when mounting, or by the run."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from agentws.agents.agent import Agent
from agentws.agents.factory import Agents
from agentws.agents.output import Output
from agentws.agents.run_context import RunContext
from agentws.errors import AgentError
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
