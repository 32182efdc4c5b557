"""What people write: an agent, and what it is given for a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ..auth import Identity
from ..protocol.events import InterruptAnswered, JsonPatch, StateDelta, StateSnapshot
from ..protocol.messages import Message, TokenUsage, UserMessage, text_of
from ..store import SessionInfo
from .commands import Command
from .context import History, SessionContext
from .output import Output, RunOutput
from .sharing import AcceptsState
from .showing import Shown, reason
from .usage import readable_usage


class RunContext(SessionContext):
    """What a run is given: the message it answers, who sent it, and the session it belongs to.

    ``identity`` is who sent the message, as authenticated; without claims if another node
    accepted it, ``None`` for an anonymous sender.
    """

    __slots__ = ("_output", "_shown", "_state", "agent", "answers", "message", "run_id", "usage")

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
        self._state = state
        self.answers = answers
        """Answers to the questions that the previous run ended with; else empty."""
        self.usage: list[TokenUsage] = []
        self._output: RunOutput | None = None
        self._shown: Shown | None = None

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

    # The shared state

    @property
    def state(self) -> Any:
        """The shared state, a JSON value; ``None`` when nobody has set any.

        As it is now: with what this run has written, and with the changes of clients. It is a
        copy: a change in place is not shared.
        """
        return self._state if self._output is None else self._output.shared.read()

    def state_changes(self) -> AsyncIterator[Any]:
        """The state after each change by a client since :attr:`state` was last read.

        Changes at the same time are given as one. It ends with the run.
        """
        return self.output.shared.changes()

    def set_state(self, value: Any) -> None:
        """Replaces the shared state by a JSON value. Raises as ``output.write`` does."""
        self.output.write(StateSnapshot(value))

    def patch_state(self, patch: JsonPatch) -> None:
        """Changes the shared state by RFC 6902 operations, all or none of them.

        Raises BadRequest, which says which operation does not apply, and as ``output.write`` does.
        """
        self.output.shared.check(patch)
        self.output.write(StateDelta(patch))

    # What is shown besides text

    def reason(self, text: str) -> None:
        """Writes a piece of the agent's reasoning, which clients fold.

        Pieces continue one message until the agent writes text or calls a tool.
        """
        reason(self.output, text)

    def cite(self, url: str, title: str | None = None, *, excerpt: str | None = None) -> int:
        """Adds a source to the conversation; returns its number in this run, from 1.

        The same URL again has the same number. Only http and https. A long title or excerpt is cut.
        Raises InvalidEvent for another URL.
        """
        return self._shown_parts().cite(self.output, url, title, excerpt)

    def show(self, kind: str, content: dict[str, Any], *, id: str | None = None) -> str:
        """Shows a structured part, such as a chart, which clients render by its kind.

        Returns its id. With an ``id`` that was returned before, that part is replaced. Raises
        InvalidEvent and EventTooLarge.
        """
        return self._shown_parts().show(self.output, kind, content, id)

    def _shown_parts(self) -> Shown:
        if self._shown is None:
            self._shown = Shown(self.run_id)
        return self._shown

    def report_usage(self, usage: TokenUsage) -> None:
        """Adds to the run's ``RUN_FINISHED.usage``; one entry per provider and model.

        Numbers may have any form that providers use (floats, strings, null). One that is not a
        token count is left out. Raises TypeError for anything but a TokenUsage.
        """
        self.usage.append(readable_usage(usage))


class Agent(ABC):
    """The base of every agent. Each run gets its own instance: users never share ``self``.

    ``run`` is an async generator. What it yields is appended to the log and shown. When it returns,
    the run has succeeded. When it raises, the run has failed; the user reads the sentence of an
    :class:`~agentws.errors.AgentError`. When it is cancelled, the run is cancelled. ``finally``
    blocks run in every case.
    """

    accepts_state: bool | AcceptsState = False
    """Whether clients may change the shared state: all, none, or a method that is given the
    :class:`~agentws.StateChange` and returns whether to accept it."""

    @abstractmethod
    def run(self, ctx: RunContext) -> AsyncIterator[Output]:
        """Answers ``ctx.message``."""

    def commands(self) -> Sequence[Command]:
        """The commands this agent offers besides the built-in ones."""
        return ()
