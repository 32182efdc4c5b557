"""The base class of agents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence

from ..protocol.events import Overlap
from .commands import Command
from .context import SessionContext
from .output import Output
from .run_context import RunContext
from .sharing import AcceptsState


class Agent(ABC):
    """The base of every agent. Each run gets its own instance: users never share ``self``.

    ``run`` is an async generator. What it yields is appended to the log and shown. When it returns,
    the run has succeeded. When it raises, the run has failed; the user reads the sentence of an
    :class:`~agentws.errors.AgentError`. When it is cancelled, the run is cancelled. ``finally``
    blocks run in every case.
    """

    overlaps: frozenset[Overlap] = frozenset({"queue", "steer", "interrupt", "reject"})
    """What a message may ask for that arrives during a run, besides ``queue``. A message with
    another ``overlap`` is refused, and told which ones are allowed."""
    attempts: int = 1
    """How often an answer is attempted in all, when a node is lost, or drains, while it is written.
    With 1 its run ends as ``interrupted``. With more, another node calls the agent again for the
    same message, and the text so far goes out of view. What it calls then may have been done
    before: see ``ctx.idempotency_key``."""
    accepts_state: bool | AcceptsState = False
    """Whether clients may change the shared state: all, none, or a method that is given the
    :class:`~agentws.StateChange` and returns whether to accept it."""

    @abstractmethod
    def run(self, ctx: RunContext) -> AsyncIterator[Output]:
        """Answers ``ctx.message``."""

    async def title(self, ctx: SessionContext) -> str | None:
        """Names the session; ``None`` names it by its first message.

        Called while a session with an owner has no title, after a run that was answered, with a new
        instance of the agent. Nothing waits for it. After ``Limits.command_timeout`` seconds, or an
        exception, the session is named by its first message.
        """
        return None

    def commands(self) -> Sequence[Command]:
        """The commands this agent offers besides the built-in ones."""
        return ()
