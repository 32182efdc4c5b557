"""What people write: an agent, and what it is given for a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ..auth import Identity
from ..protocol.events import InterruptAnswered
from ..protocol.messages import Message, TokenUsage, UserMessage, text_of
from ..store import SessionInfo
from .commands import Command
from .context import History, SessionContext
from .output import Output, RunOutput
from .usage import add_usage


class RunContext(SessionContext):
    """What a run is given: the message it answers, who sent it, and the session it belongs to.

    ``identity`` is who sent the message, as authenticated; without claims if another node
    accepted it, ``None`` for an anonymous sender.
    """

    __slots__ = ("_output", "agent", "answers", "message", "run_id", "state", "usage")

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
        super().__init__(session=session, identity=identity, history=history)
        self.message = message
        self.run_id = run_id
        self.agent = agent
        """The name under which this agent was mounted."""
        self.state = state
        """The shared state, a JSON value: as it was when the run began, and then as this run's
        ``STATE_SNAPSHOT`` and ``STATE_DELTA`` change it. A change in place is not shared."""
        self.answers = answers
        """Answers to the questions that the previous run ended with; else empty."""
        self.usage: list[TokenUsage] = []
        self._output: RunOutput | None = None

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

        With ``limit``, about that many of the newest messages; only those are read. An answer that
        was cancelled or that failed has ``metadata["agentws"]["status"]``: ``cancelled`` or
        ``error``.
        """
        return await self._history(limit)

    def attach(self, output: RunOutput) -> None:
        """Connects the context with the run that it belongs to. Called once, before the agent."""
        self._output = output

    @property
    def output(self) -> RunOutput:
        """Where this context's methods write; raises RuntimeError outside of a run."""
        if self._output is None:
            raise RuntimeError("this context belongs to no run; expected one that a gateway made")
        return self._output

    def report_usage(self, usage: TokenUsage) -> None:
        """Adds to the run's ``RUN_FINISHED.usage``, which has one entry per provider and model.

        Numbers may have any form that providers use (floats, strings, null). One that is not a
        token count is left out. Raises TypeError for anything but a TokenUsage.
        """
        add_usage(self.usage, usage)


class Agent(ABC):
    """The base of every agent. Each run gets its own instance: users never share ``self``.

    ``run`` is an async generator. What it yields is appended to the log and shown. When it returns,
    the run has succeeded. When it raises, the run has failed; the user reads the sentence of an
    :class:`~agentws.errors.AgentError`. When it is cancelled, the run is cancelled. ``finally``
    blocks run in every case.
    """

    @abstractmethod
    def run(self, ctx: RunContext) -> AsyncIterator[Output]:
        """Answers ``ctx.message``."""

    def commands(self) -> Sequence[Command]:
        """The commands this agent offers besides the built-in ones."""
        return ()
