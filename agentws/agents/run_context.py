"""What an agent is given for a run."""

from __future__ import annotations

import copy
import math
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from typing import Any, TypeVar

from ..attachments.library import Files
from ..auth import Identity
from ..protocol.events import InterruptAnswered, JsonPatch, StateSnapshot
from ..protocol.messages import Content, Message, TokenUsage, UserMessage, text_of
from ..store import SessionInfo
from . import asking, calls, client_tools, progress
from .context import Earlier, History, SessionContext
from .files import Attachment, Data, attachments_of, write_file
from .handover import Handover
from .output import RunOutput
from .showing import Shown, reason
from .steps import Work
from .tools import Tool
from .usage import add_usage

R = TypeVar("R")


class RunContext(SessionContext):
    """What a run is given: the message it answers, who sent it, and the session it belongs to.

    ``identity`` is who sent the message, as authenticated; without claims if another node
    accepted it, ``None`` for an anonymous sender.
    """

    __slots__ = (
        "_earlier",
        "_files",
        "_output",
        "_shown",
        "_state",
        "agent",
        "answers",
        "attempt",
        "handed_over",
        "idempotency_key",
        "message",
        "run_id",
        "usage",
        "work",
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
        earlier: Earlier | None = None,
        files: Files | None = None,
    ) -> None:
        super().__init__(session, identity, history)
        self.message = message
        self.run_id = run_id
        self.agent = agent
        """The name under which this agent was mounted."""
        self._state = state
        self.answers = answers
        """Answers to the questions that the previous run ended with; else empty."""
        self.attempt = 1
        """Which attempt at the answer this is: more than 1 after a node was lost, where
        :attr:`Agent.attempts` allows it."""
        self.idempotency_key = run_id
        """The same in every attempt at the answer, and when the agent is called again for an
        answer. Give it to what must not be done twice, such as a payment, with the step's name."""
        self.handed_over: Handover | None = None
        """Which agent gave the conversation to this one in this run, and why; else ``None``."""
        self.usage: list[TokenUsage] = []
        self._earlier = earlier
        self._files = files
        self._output: RunOutput | None = None
        self._shown: Shown | None = None
        self.work: tuple[Work, ...] = ()
        """The calls that this context was given to, the outermost first."""

    def __repr__(self) -> str:
        return f"<RunContext {self.run_id} of {self.session.id}>"

    @property
    def text(self) -> str:
        """What the user wrote."""
        return text_of(self.message.content)

    @property
    def attachments(self) -> list[Attachment]:
        """The files sent with the message."""
        return self.attachments_of(self.message)

    def attachments_of(self, message: UserMessage) -> list[Attachment]:
        """The files sent with any message of the session, such as one of :meth:`history`."""
        return attachments_of(message, self._files, self.session.id)

    async def write_file(self, name: str, data: Data, *, type: str | None = None) -> Attachment:
        """Makes a file of bytes, text or an async iterable of bytes, and shows it to the user.

        Without ``type`` it is recognized by the content. The file is kept with the session. Raises
        TooLarge, QuotaExceeded, StorageFull, and NotSupported if the gateway keeps no files.
        """
        return await write_file(self, self._files, name, data, type)

    async def history(self, *, limit: int | None = None) -> list[Message]:
        """The conversation up to and including the message being answered, oldest first.

        With ``limit``, about that many of the newest messages; only those are read. An answer that
        was cancelled or that failed has ``metadata["agentws"]["status"]``: ``cancelled`` or
        ``error``.
        """
        return await self._history(limit)

    async def delegate(
        self,
        agent: str,
        task: Content,
        *,
        history: Sequence[Message] = (),
        timeout: float | None = None,  # noqa: ASYNC109 - it ends a part of the run, in order
    ) -> Any:
        """Lets another mounted agent work on ``task`` inside this run; returns its result.

        That is the text of its newest message, or the ``result`` of the RUN_FINISHED it yields.
        Clients see its output as a subagent's. It gets ``history``, not the session's, and acts for
        the same identity. Delegates may run in parallel. ``timeout`` is in seconds. Raises
        DelegateFailed when it fails, BadRequest for an unknown agent, TooManyAgents.
        """
        return await self.output.delegate(
            agent, task, history=history, within=timeout, work=self.work
        )

    async def handoff(self, agent: str, reason: str | None = None) -> None:
        """Gives the conversation to another mounted agent, in this run and for later messages.

        It goes on when this agent returns, with the same message; ``ctx.handed_over`` tells it the
        reason. What this agent yields after the call is dropped, and its generator closed. Raises
        BadRequest for an unknown agent, TooManyAgents after ``Limits.max_handoffs``.
        """
        self.output.hand_over(agent, reason=reason, lasting=True)

    def for_successor(self, handover: Handover) -> RunContext:
        """The context of the agent that goes on with the run; this one can't write any more."""
        other = copy.copy(self)
        other.agent, other.answers = handover.to, ()
        other.handed_over = handover if handover.lasting else self.handed_over
        # What was written, the agent has written that a router has chosen.
        other._earlier = None if handover.lasting else self._earlier
        self._output = None
        return other

    def for_delegate(
        self,
        agent: str,
        message: UserMessage,
        history: Sequence[Message],
        *,
        work: tuple[Work, ...],
        parts: Set[str],
    ) -> RunContext:
        """The context of an agent that works on ``message`` inside this run.

        ``parts``: the ids that it had in the runs that this one goes on from.
        """

        async def given(limit: int | None) -> list[Message]:
            return list(history if limit is None else history[-limit:])

        other = copy.copy(self)
        other.agent, other.message, other._history = agent, message, given
        other.answers, other.handed_over, other._output = (), None, None
        other.work, other._shown = work, self._shown_parts()
        other._earlier = None if self._earlier is None else self._earlier.of(parts)
        return other

    async def earlier(self) -> list[Message]:
        """What this agent has written since its message, if it is called again for an answer.

        Empty otherwise. An agent that can't repeat itself, since it has its text and its calls from
        a model, goes on from here; see :meth:`ask`. It is the same list each time: whoever goes on
        from a message takes it out.
        """
        return [] if self._earlier is None else await self._earlier.messages()

    def attach(self, output: RunOutput) -> None:
        """Connects the context with the run that it belongs to. Called once, before the agent."""
        self._output = output

    @property
    def output(self) -> RunOutput:
        """Where this context's methods write; raises RuntimeError outside of a run."""
        if self._output is None:
            raise RuntimeError("this context belongs to no run; expected one that a gateway made")
        return self._output

    @property
    def largest_value(self) -> float:
        """The most bytes of one value that is written; infinite outside of a run."""
        return math.inf if self._output is None else self._output.largest_result

    async def caught_up(self) -> None:
        """Returns when the agent is where it waited for answers: what it does now is new.

        Raises ReplayDiverged for an agent that was called again, and does something else instead.
        """
        if self._earlier is not None:
            await self.output.steps.caught_up(self.work)

    async def steered(self) -> list[UserMessage]:
        """The messages that were sent to steer this run since the last call; empty if none were.

        They are delivered when this returns: the conversation shows them here, after what was
        written before. A message that the run never takes is queued when it ends. Costs nothing
        while there are none. Raises Unavailable when the store is.
        """
        return [] if self._output is None else await self._output.steering.take()

    def steering(self) -> AsyncIterator[UserMessage]:
        """Yields each steering message as it comes, until the run ends; see :meth:`steered`."""
        return self.output.steering.messages()

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
        self.output.patch_state(patch)

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
        """Adds to the ``usage`` of the run's end, which has one entry per provider and model.

        Numbers may have any form that providers use (floats, strings, null). One that is not a
        token count is left out. Raises TypeError for anything but a TokenUsage.
        """
        add_usage(self.usage, usage)

    # What the agent calls and asks

    async def call(self, tool: Tool[..., R], /, **arguments: Any) -> R:
        """Calls a tool and returns its result; the call and its result are written as events.

        Calls may run in parallel. Raises ToolError if the tool fails, takes longer than its
        timeout, or returns what can't be written; ToolArgumentsInvalid; and ToolDenied if a person
        does not approve the call.
        """
        result: R = await calls.call(self, tool, arguments)
        return result

    def progress(
        self, message: str | None = None, *, done: float | None = None, total: float | None = None
    ) -> None:
        """Shows how far the work is; in a tool, as the progress of its call."""
        progress.write(self, message, done=done, total=total)

    async def ask(
        self,
        question: str,
        *,
        schema: Any = None,
        choices: Sequence[str] | None = None,
        expires: float | None = None,
    ) -> Any:
        """Asks a person, and returns the answer: a value of type ``schema``, or one of ``choices``.

        The run ends with the question, and another one goes on with the answer. The agent waits for
        that in memory for some time (``Limits.park``); later, or on another node, it is called
        again, and what it asked and called before returns what was recorded. So it must ask and
        call the same again, in whatever time has passed.

        ``schema`` is a type, or a JSON Schema as a dict, which is only shown. An answer that does
        not fit is asked for again. Raises AskDeclined if the question is cancelled, AskExpired if
        nobody answers it in ``expires`` seconds, and ReplayDiverged.
        """
        return await asking.ask(self, question, schema=schema, choices=choices, expires=expires)

    async def client_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        schema: Any = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Any:
        """Has a client call its own tool; returns what the first one sends as ``tool_result``.

        That is text or content parts, or a value of type ``schema`` that is in the text as JSON.
        Waits as :meth:`ask` does. Raises ToolError if the client reports an error, if the result
        does not fit, and if no client answers in ``timeout`` seconds.
        """
        return await client_tools.client_tool(self, name, arguments, schema=schema, expires=timeout)

    def within(self, work: Work) -> RunContext:
        """This context, as it is given to a tool that is called."""
        return _WithinCall(self, work)


class _WithinCall(RunContext):
    """A context for one call: everything but ``work`` is that of the run, also when it changes."""

    __slots__ = ("_whole", "work")

    def __init__(self, whole: RunContext, work: Work) -> None:
        object.__setattr__(self, "_whole", whole)
        object.__setattr__(self, "work", (*whole.work, work))

    def __getattr__(self, name: str) -> Any:
        # Called for the attributes of RunContext, which have no value here.
        return getattr(self._whole, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._whole, name, value)
