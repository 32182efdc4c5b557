"""The agents that one run may call, within its limits."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from ..agents.agent import Agent
from ..agents.factory import Agents
from ..agents.handover import Handover
from ..agents.run_context import RunContext
from ..errors import BadRequest, TooManyAgents
from ..limits import Limits
from ..protocol import events as e
from ..protocol.events import Event
from .ids import now_ms


class Subagent(Protocol):
    """What a team needs of a delegate."""

    def suspend(self) -> list[Event]: ...

    def restart(self) -> Event: ...


class Team:
    """Makes the agents of one run, and counts how often it calls another one."""

    __slots__ = ("_agents", "_delegates", "_handoffs", "_limits", "working")

    def __init__(self, agents: Agents, limits: Limits) -> None:
        self._agents = agents
        self._limits = limits
        self._delegates = 0
        self._handoffs = 0
        self.working: list[Subagent] = []
        """The delegates that have begun and not ended; a caller is before those that it called."""

    def make_at_once(self, context: RunContext) -> Agent | None:
        """:meth:`make` where that never waits; else ``None``."""
        return self._agents.make_at_once(context.agent, context.session)

    def make(self, context: RunContext) -> Awaitable[Agent]:
        """A new agent of the name that ``context`` has."""
        return self._agents.make(context.agent, context.session)

    def speaker(self, name: str) -> str | None:
        """The name that an agent's messages carry: none where there is only one agent."""
        return name if self._agents.several else None

    def count_handoff(self, to: str, *, by: str) -> str:
        """The name ``to``, as an exact ``str``.

        Raises BadRequest if ``by`` can't hand over to it, TooManyAgents above the limit.
        """
        known = self._agents.check_any(to)
        if known == by:
            raise BadRequest(f"{by} has the conversation already.", expected="another agent")
        if self._handoffs == self._limits.max_handoffs:
            raise TooManyAgents("The agents keep handing the conversation over to each other.")
        self._handoffs += 1
        return known

    # A run that ends in the log while its agents wait for answers

    def suspend(self) -> list[Event]:
        """The events that end the part of each delegate in a run that ends with questions."""
        return [event for one in reversed(self.working) for event in one.suspend()]

    def restart(self) -> list[Event]:
        """The events that begin the delegates again, in the run that goes on."""
        return [one.restart() for one in self.working]

    def count_delegate(self, name: str, *, depth: int) -> None:
        """Raises BadRequest for an unknown agent, TooManyAgents above a limit.

        ``depth`` is 1 for a delegate of the run's own agent, and one more for each below that.
        """
        self._agents.check_any(name)
        if depth > self._limits.max_delegate_depth:
            raise TooManyAgents("The agents delegate to each other without an end.")
        if self._delegates == self._limits.max_delegates:
            raise TooManyAgents("The agents have delegated too often in this run.")
        self._delegates += 1


def handover_events(handover: Handover) -> list[Event]:
    """What a handover appends: who goes on in this run and, if it lasts, after it."""
    now = now_ms()
    chosen = e.AgentChosen(handover.to, handover.reason, timestamp=now)
    return [chosen, e.SessionUpdated(agent=handover.to, timestamp=now)][: 1 + handover.lasting]
