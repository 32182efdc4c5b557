"""What people write: an agent, and what it is given for a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypeVar

from ..auth import Identity
from ..protocol.events import InterruptAnswered, Overlap
from ..protocol.messages import Message, TokenUsage, UserMessage, text_of
from ..store import SessionInfo
from . import asking, calls, client_tools, progress
from .commands import Command
from .context import Earlier, History, SessionContext
from .output import Output, RunOutput
from .steps import Work
from .tools import Tool
from .usage import readable_usage

R = TypeVar("R")


class RunContext(SessionContext):
    """What a run is given: the message it answers, who sent it, and the session it belongs to.

    ``identity`` is who sent the message, as authenticated; without claims if another node
    accepted it, ``None`` for an anonymous sender.
    """

    __slots__ = (
        "_earlier",
        "_output",
        "agent",
        "answers",
        "message",
        "run_id",
        "state",
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
        self._earlier = earlier
        self._output: RunOutput | None = None
        self.work: tuple[Work, ...] = ()
        """The calls that this context was given to, the outermost first."""

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

    async def earlier(self) -> list[Message]:
        """What this agent has written since its message, if it is called again for an answer.

        Empty otherwise. An agent that can't repeat itself, since it has its text and its calls from
        a model, goes on from here; see :meth:`ask`.
        """
        return [] if self._earlier is None else await self._earlier()

    def attach(self, output: RunOutput) -> None:
        """Connects the context with the run that it belongs to. Called once, before the agent."""
        self._output = output

    @property
    def output(self) -> RunOutput:
        """Where this context's methods write; raises RuntimeError outside of a run."""
        if self._output is None:
            raise RuntimeError("this context belongs to no run; expected one that a gateway made")
        return self._output

    async def steered(self) -> list[UserMessage]:
        """The messages that were sent to steer this run since the last call; empty if none were.

        They are delivered when this returns: the conversation shows them here, after what was
        written before. A message that the run never takes is queued when it ends. Costs nothing
        while there are none. Raises Unavailable when the store is.
        """
        return await self.output.steering.take()

    def steering(self) -> AsyncIterator[UserMessage]:
        """Yields each steering message as it comes, until the run ends; see :meth:`steered`."""
        return self.output.steering.messages()

    def report_usage(self, usage: TokenUsage) -> None:
        """Adds to the run's ``RUN_FINISHED.usage``; one entry per provider and model.

        Numbers may have any form that providers use (floats, strings, null). One that is not a
        token count is left out. Raises TypeError for anything but a TokenUsage.
        """
        self.usage.append(readable_usage(usage))

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

    @abstractmethod
    def run(self, ctx: RunContext) -> AsyncIterator[Output]:
        """Answers ``ctx.message``."""

    def commands(self) -> Sequence[Command]:
        """The commands this agent offers besides the built-in ones."""
        return ()
