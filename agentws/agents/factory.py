"""From whatever a host passes as ``agent_factory`` to an agent for one run."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from ..errors import BadRequest, NotSupported
from ..store import SessionInfo
from .agent import Agent, Output, RunContext

RunFunction = Callable[[RunContext], AsyncIterator[Output]]
AgentFactory = (
    type[Agent]
    | RunFunction
    | Callable[[], Agent | Awaitable[Agent]]
    | Callable[[SessionInfo], Agent | Awaitable[Agent]]
    | Mapping[str, Any]
)
"""An Agent subclass, a callable that makes an agent (sync or async, with or without a SessionInfo),
a bare ``async def(ctx)`` generator function, or a mapping of names to those."""

DEFAULT_NAME: Final = "agent"
_EXPECTED: Final = (
    "an Agent subclass, a callable that returns an Agent, an `async def(ctx)` generator function, "
    "or a mapping of names to those"
)


class FunctionAgent(Agent):
    """A bare generator function as an agent."""

    def __init__(self, function: RunFunction) -> None:
        self._function = function

    def run(self, ctx: RunContext) -> AsyncIterator[Output]:
        return self._function(ctx)


class Agents:
    """The agents of one gateway by name; the first is the default. ``None``: there are none."""

    def __init__(self, factory: AgentFactory | None) -> None:
        named = factory if isinstance(factory, Mapping) else {DEFAULT_NAME: factory}
        if factory is None:
            named = {}
        elif not named:
            raise TypeError(f"agent_factory is an empty mapping; expected {_EXPECTED}")
        self._makers = {name: _maker(name, one) for name, one in named.items()}
        self.names: Final = list(self._makers)
        self.default: Final = self.names[0] if self.names else DEFAULT_NAME

    def __repr__(self) -> str:
        return f"<Agents {', '.join(self.names)}>"

    def check(self, name: str | None) -> str:
        """``name``, or the default for ``None``; raises BadRequest for one that is not here."""
        if not self.names:
            raise NotSupported("There is no agent here.")
        if name is None:
            return self.default
        if name not in self._makers:
            raise BadRequest(
                f"There is no agent {name[:40]!r}.", expected=f"one of {', '.join(self.names)}"
            )
        return name

    async def make(self, name: str, session: SessionInfo) -> Agent:
        """A new agent. Raises what the factory raises, TypeError if it makes something else."""
        maker = self._makers.get(name) or self._makers[self.default]
        made = maker(session)
        if not isinstance(made, Agent) and inspect.isawaitable(made):
            made = await made
        if not isinstance(made, Agent):
            raise TypeError(f"agent factory {name!r} made {made!r}; expected an Agent")
        return made


def _maker(name: str, factory: Any) -> Callable[[SessionInfo], Any]:
    """``factory`` as a callable that takes a session, whichever of the accepted forms it has."""
    if isinstance(factory, Agent):
        raise TypeError(
            f"agent {name!r} is an instance, which all users would share; pass its class, or a "
            "callable that makes one"
        )
    if inspect.isasyncgenfunction(factory):
        return lambda session: FunctionAgent(factory)
    if not callable(factory):
        raise TypeError(f"agent {name!r} is {factory!r}; expected {_EXPECTED}")
    if _takes_session(factory):
        made: Callable[[SessionInfo], Any] = factory
        return made
    return lambda session: factory()


def _takes_session(factory: Callable[..., Any]) -> bool:
    """Whether the factory has a required positional parameter: that one gets the session."""
    required = [
        parameter
        for parameter in inspect.signature(factory).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) > 1:
        raise TypeError(
            f"agent factory {factory!r} needs {len(required)} arguments; expected none or a "
            "SessionInfo. Pass dependencies with a lambda: `lambda: Support(llm, orders)`"
        )
    return bool(required)
