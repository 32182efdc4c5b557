"""Makes an agent for each run from what a host passes as ``agent_factory``."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Final

from ..errors import BadRequest, NotSupported
from ..protocol.frames import MAX_ID
from ..protocol.messages import Content
from ..protocol.text import plain
from ..store import SessionInfo
from .agent import Agent
from .callables import (
    ASYNC_GENERATOR,
    COROUTINE,
    GENERATOR,
    Annotation,
    annotation_of,
    arguments_of,
    kind_of,
    name_of,
    takes_another,
    wants_the_context,
)
from .function import FunctionAgent, check_output, close_unused
from .mentions import Mentions
from .output import Output
from .overlaps import declared_overlaps
from .routing import Router
from .run_context import RunContext

RunFunction = Callable[[RunContext], AsyncIterator[Output]]
AgentFactory = (
    type[Agent]
    | RunFunction
    | Callable[[], Agent | Awaitable[Agent]]
    | Callable[[SessionInfo], Agent | Awaitable[Agent]]
    | Mapping[str, Any]
)
"""An Agent subclass, a callable that makes an agent (sync or async, with or without a SessionInfo),
a callable that returns an async generator for a RunContext, or a mapping of names to those."""

DEFAULT_NAME: Final = "agent"
INTERNAL: Final = "_"
"""What the name of an internal agent begins with: only other agents may call it."""
_EXPECTED: Final = (
    "an Agent subclass, a callable that returns an Agent, an `async def(ctx)` generator function, "
    "or a mapping of names to those"
)
_Maker = Callable[[SessionInfo], Any]


class Agents:
    """The agents of one gateway by name; the first is the default. None at all for ``None``.

    Raises TypeError, which says what was expected, for anything that can't make an agent, and
    ValueError for a router that names one that is not there.
    """

    def __init__(self, factory: AgentFactory | None) -> None:
        given = factory if isinstance(factory, Mapping) else {DEFAULT_NAME: factory}
        if factory is None:
            given = {}
        elif not given:
            raise TypeError(f"agent_factory is an empty mapping; expected {_EXPECTED}")
        named = {_checked_name(name): one for name, one in given.items()}
        self._makers = {name: _maker(name, one) for name, one in named.items()}
        self._at_once = {
            name: self._makers[name] for name, one in named.items() if _makes_at_once(one)
        }
        self.several: Final = len(named) > 1
        """Whether clients are shown which agent answers."""
        self.names: Final = [name for name in self._makers if not name.startswith(INTERNAL)]
        """The agents that clients may choose."""
        if named and not self.names:
            raise TypeError(
                f"agent_factory has only internal agents ({', '.join(named)}); expected a name "
                f"without {INTERNAL!r} in front"
            )
        self.default: Final = self.names[0] if self.names else DEFAULT_NAME
        self._routers = {name: one for name, one in named.items() if isinstance(one, Router)}
        for name, router in self._routers.items():
            router.check(name, among=self._makers)
        declared = {name: declared_overlaps(named[name]) for name in self.names}
        self.overlaps: Final = {name: one for name, one in declared.items() if one is not None}
        """What the agents allow that clients may choose, by name; of those that declare it."""
        self._mentions = Mentions(self.names) if len(self.names) > 1 else None

    def __repr__(self) -> str:
        return f"<Agents {', '.join(self.names)}>"

    def check(self, name: str | None) -> str:
        """``name``, or the default for ``None``; raises BadRequest for one that no client may name.

        An internal agent is unknown to clients.
        """
        if not self.names:
            raise NotSupported("There is no agent here.")
        if name is None:
            return self.default
        return _checked(name, self.names)

    def check_any(self, name: str) -> str:
        """``name``, which may be an internal agent's; raises BadRequest for an unknown one."""
        return _checked(name, self._makers)

    def mentioned(self, content: Content) -> str | None:
        """The agent that ``content`` is addressed to, as in ``@billing where is my invoice?``."""
        return None if self._mentions is None else self._mentions.find(content)

    def make_to_ask(self, name: str, session: SessionInfo) -> Awaitable[Agent]:
        """:meth:`make`, for what an agent is asked outside of a run: of a router, its default."""
        seen = set[str]()
        while name in self._routers and name not in seen:
            seen.add(name)
            name = self._routers[name].default
        return self.make(name, session)

    def make_at_once(self, name: str, session: SessionInfo) -> Agent | None:
        """:meth:`make` for a factory that never waits; ``None`` for any other, which is not called.

        That is an Agent subclass, or an async generator function.
        """
        maker = self._at_once.get(name)
        return None if maker is None else maker(session)

    async def make(self, name: str, session: SessionInfo) -> Agent:
        """A new agent. Raises what the factory raises, and TypeError if it makes anything else.

        Raises AgentError, which says what to write, if it returns text or a plain generator.
        """
        maker = self._makers.get(name) or self._makers[self.default]
        made = maker(session)
        if isinstance(made, Agent):
            return made
        if inspect.isawaitable(made):
            made = await made
            if isinstance(made, Agent):
                return made
        if kind_of(made) is ASYNC_GENERATOR and not isinstance(made, type):
            return FunctionAgent(made)
        check_output(made)
        raise TypeError(
            f"agent factory {name!r} made {made!r:.100}; expected an Agent, or else "
            "`async def agent(ctx)` that gives its text with `yield`"
        )


def _checked(name: str, known: Collection[str]) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name of an agent is {name!r:.100}; expected a str")
    if name in known:
        return plain(name)
    near = difflib.get_close_matches(name, known, n=3) or known
    raise BadRequest(f"There is no agent {name[:40]!r}.", expected=one_of(near))


def one_of(names: Iterable[str]) -> str:
    """Names as the ``expected`` of an error."""
    return f"one of {', '.join(names)}"


def _checked_name(name: Any) -> str:
    """``name`` as an exact ``str``, also for an enum or another subclass of it.

    Raises TypeError for a name that is no valid id: logs and frames carry it as one.
    """
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= MAX_ID:
        raise TypeError(
            f"agent_factory has an agent named {name!r}; expected 1 to {MAX_ID} printable "
            "characters of text"
        )
    return plain(name)


def _maker(name: str, factory: Any) -> _Maker:
    """``factory``, in any of the accepted forms, as a callable that takes a SessionInfo."""
    if isinstance(factory, Agent):
        raise TypeError(
            f"agent {name!r} is an instance, which all users would share; pass its class, or a "
            "callable that makes one"
        )
    if not callable(factory):
        raise TypeError(f"agent {name!r} is {factory!r}; expected {_EXPECTED}")
    if isinstance(factory, type):
        _check_class(name, factory)
    elif kind_of(factory) is ASYNC_GENERATOR:
        _check_takes_context(name, factory)
        return lambda session: FunctionAgent(factory)
    else:
        _check_function(name, factory)
    wanted = arguments_of(factory)
    takes_session = annotation_of(factory) in (Annotation.FACTORY, Annotation.AGENT)
    if wanted is None or (wanted and not takes_session and takes_another(factory)):
        raise TypeError(
            f"agent {name!r}: {name_of(factory)} needs other arguments than none or a SessionInfo; "
            "expected to get dependencies with a lambda: `lambda: Support(llm, orders)`"
        )
    if wanted == 0:
        return lambda session: factory()
    if isinstance(factory, type):
        made: _Maker = factory
        return made
    return _FactoryOrAgent(factory) if annotation_of(factory) is None else _annotated_maker(factory)


def _check_class(name: str, factory: type) -> None:
    """Raises TypeError for a class that makes no agent, or an Agent subclass that can't run."""
    if not issubclass(factory, Agent):
        if _makes_no_agent(factory):
            raise TypeError(
                f"agent {name!r}: {factory.__name__} is no subclass of Agent; expected {_EXPECTED}"
            )
        return
    if inspect.isabstract(factory):
        missing = ", ".join(sorted(factory.__abstractmethods__))
        raise TypeError(f"agent {name!r}: {factory.__name__} is abstract; expected {missing} in it")
    if kind_of(factory.run) in (GENERATOR, COROUTINE):
        raise TypeError(
            f"agent {name!r}: {factory.__name__}.run is {_described(factory.run)}; expected an "
            "async generator: `async def run(self, ctx)` with `yield` in it"
        )


def _makes_no_agent(kind: type) -> bool:
    """Whether calling ``kind`` can only give an instance of it, which is no agent of any form."""
    defined = {name for base in kind.__mro__ for name in vars(base)}
    return _gives_itself(kind) and not defined & {"__call__", "__aiter__"}


def _gives_itself(kind: type) -> bool:
    """Whether calling ``kind`` can only give an instance of it."""
    may_give_another = inspect.isfunction(kind.__new__) or type(kind).__call__ is not type.__call__
    return not may_give_another


def _makes_at_once(factory: Any) -> bool:
    """Whether the maker of ``factory`` can only return an agent."""
    if isinstance(factory, type):
        return issubclass(factory, Agent) and _gives_itself(factory)
    return kind_of(factory) is ASYNC_GENERATOR


def _check_takes_context(name: str, function: Any) -> None:
    if arguments_of(function, fewest=1) != 1:
        raise TypeError(
            f"agent {name!r}: {name_of(function)} can't be called with the context alone; expected "
            "`async def(ctx)`, with its dependencies by functools.partial or a lambda"
        )


def _check_function(name: str, function: Any) -> None:
    """Raises TypeError for a function that returns text or a plain generator, if that shows."""
    kind, says = kind_of(function), annotation_of(function)
    textual = kind is COROUTINE and (says is Annotation.TEXT or says is Annotation.CONTEXT)
    if kind is GENERATOR or says is Annotation.TEXT or textual:
        raise TypeError(
            f"agent {name!r}: {name_of(function)} is {_described(function)}; expected an async "
            "generator: `async def(ctx)` that gives its text with `yield`"
        )


def _described(function: Any) -> str:
    match kind_of(function):
        case "generator":
            return "a plain generator function"
        case "coroutine":
            return "a coroutine function, which can only return"
        case _:
            return "a function that returns text"


def _annotated_maker(factory: Any) -> _Maker:
    """The maker of a callable whose annotations tell a factory from an agent."""
    if annotation_of(factory) is Annotation.FACTORY:
        made: _Maker = factory
        return made
    return lambda session: FunctionAgent(factory)


class _FactoryOrAgent:
    """A callable of one argument without annotations: either a factory or an agent.

    It is first called with the session, as a factory. If it returns an async generator, or reads an
    attribute that only a context has, it is an agent, and is called with the context from then on.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self._is_agent = False

    def __call__(self, session: SessionInfo) -> Any:
        return FunctionAgent(self._function) if self._is_agent else self._decide(session)

    async def _decide(self, session: SessionInfo) -> Any:
        try:
            made = self._function(session)
            if not isinstance(made, Agent) and inspect.isawaitable(made):
                made = await made
        except AttributeError as error:
            if not wants_the_context(error):
                raise
        else:
            if not hasattr(made, "__aiter__"):
                return made
            await close_unused(made)
        self._is_agent = True
        return FunctionAgent(self._function)
