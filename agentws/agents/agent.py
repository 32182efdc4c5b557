"""What people write: an agent, and what it is given for a run."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec

from ..auth import Identity
from ..protocol.events import AgentEvent, InterruptAnswered
from ..protocol.messages import Message, TokenUsage, UserMessage, text_of
from ..store import SessionInfo
from .commands import Command
from .usage import counted

History = Callable[["int | None"], Awaitable[list[Message]]]
Output = str | AgentEvent
"""What an agent may yield: text, or any AG-UI event (see :mod:`agentws.protocol.sequence`)."""


def _own(session: SessionInfo) -> SessionInfo:
    """A copy: what an agent does to it in place must not reach the session, which others share."""
    if session.metadata is None:
        return session
    return msgspec.structs.replace(session, metadata=copy.deepcopy(session.metadata))


class CommandContext:
    """What a command is given."""

    __slots__ = ("_history", "identity", "session")

    def __init__(
        self, *, session: SessionInfo, identity: Identity | None, history: History
    ) -> None:
        self.session = _own(session)
        self.identity = identity
        self._history = history

    async def history(self, *, limit: int | None = None) -> list[Message]:
        """The conversation so far, oldest first; with ``limit``, its newest messages."""
        return await self._history(limit)


class RunContext:
    """What a run is given: the message it answers, who sent it, and the session it belongs to."""

    __slots__ = (
        "_history",
        "agent",
        "answers",
        "identity",
        "message",
        "run_id",
        "session",
        "state",
        "usage",
    )

    def __init__(
        self,
        *,
        message: UserMessage,
        session: SessionInfo,
        run_id: str,
        agent: str,
        identity: Identity | None,
        history: History,
        state: Any = None,
        answers: Sequence[InterruptAnswered] = (),
    ) -> None:
        self.message = message
        self.session = _own(session)
        self.run_id = run_id
        self.agent = agent
        """The name under which this agent was mounted."""
        self.identity = identity
        """Who sent the message, as authenticated; without claims where another node accepted it.
        ``None`` for an anonymous sender."""
        self.state = state
        """The shared state, a JSON value: as it was when the run began, and then as this run's
        ``STATE_SNAPSHOT`` and ``STATE_DELTA`` make it. Changing it in place shares nothing."""
        self.answers = answers
        """Answers to the questions that the previous run ended with; else empty."""
        self.usage: list[TokenUsage] = []
        self._history = history

    def __repr__(self) -> str:
        return f"<RunContext {self.run_id} of {self.session.id}>"

    @property
    def text(self) -> str:
        """What the user wrote."""
        return text_of(self.message.content)

    @property
    def attachments(self) -> list[str]:
        """Ids of the files sent with the message."""
        return list((self.message.metadata or {}).get("attachments", ()))

    async def history(self, *, limit: int | None = None) -> list[Message]:
        """The conversation up to and including the message being answered, oldest first.

        With ``limit``, about that many of the newest messages: what it costs follows from that.
        An answer that was stopped or that failed has ``metadata["agentws"]["status"]``
        (``cancelled`` or ``error``).
        """
        return await self._history(limit)

    def report_usage(self, usage: TokenUsage) -> None:
        """Adds to the run's ``RUN_FINISHED.usage``; one entry per provider and model.

        Numbers may come as a provider wrote them (floats, strings, null): what can't be read is
        left out. Raises TypeError for what is not a TokenUsage.
        """
        self.usage.append(counted(usage))


class Agent(ABC):
    """The base of every agent. One is made for each run, so ``self`` is never shared between users.

    ``run`` is an async generator: what it yields is what is logged and shown. Returning ends the
    run well; raising ends it with an error (:class:`~agentws.errors.AgentError` to say a sentence
    the user may read); being cancelled ends it cancelled. ``finally`` blocks run in every case.
    """

    @abstractmethod
    def run(self, ctx: RunContext) -> AsyncIterator[Output]:
        """Answers ``ctx.message``."""

    def commands(self) -> Sequence[Command]:
        """The commands this agent offers besides the built-in ones."""
        return ()
