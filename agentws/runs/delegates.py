"""A delegate: an agent that runs inside the run of another one, as AG-UI's subagent.

Its events are attributed to it. Its text is no answer to the user: it is returned to its caller.
Whatever it does, it ends with exactly one SUBAGENT_FINISHED or SUBAGENT_ERROR.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec

from ..agents.agent import RunContext
from ..agents.handover import Handover
from ..agents.output import Output, RunOutput
from ..errors import (
    AgentError,
    AgentwsError,
    BadRequest,
    DelegateFailed,
    InvalidEvent,
    NotSupported,
)
from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.events import Attributed, Event
from ..protocol.sequence import TERMINAL, RunSequence
from .failure import error_for_run, is_cancelled
from .generators import ITEMS_PER_TURN, close_output, output_of
from .ids import new_id
from .team import Team
from .validation import check_event, check_text

DESCRIPTION: Final = 500
"""Characters of the task that SUBAGENT_STARTED shows."""


class Caller(NamedTuple):
    """Who calls a delegate: the run's own agent, or another delegate."""

    run: RunOutput
    """The output of the whole run, which all delegates write to."""
    context: RunContext
    shared: RunContext
    """The context of the run's own agent: it has the newest shared state."""
    team: Team
    id: str | None = None
    """The id of the delegate that calls; ``None`` for the run's own agent."""
    depth: int = 0


async def call_delegate(
    caller: Caller,
    name: str,
    content: m.Content,
    *,
    history: Sequence[m.Message],
    within: float | None,
) -> Any:
    """Runs the agent ``name`` to its end; see :meth:`agentws.agents.agent.RunContext.delegate`."""
    if not (content if isinstance(content, list) else content.strip()):
        raise BadRequest("There is nothing to do for the delegate.", expected="a task as text")
    caller.team.count_delegate(name, depth=caller.depth + 1)
    delegate = Delegate(caller, name, m.UserMessage(new_id("msg"), content), history)
    delegate.begin()
    try:
        async with asyncio.timeout(within) as deadline:
            result = await delegate.drive()
        delegate.finish()
    except GeneratorExit:
        raise
    except BaseException as error:
        # An agent may raise SystemExit: the caller must not exit by that.
        if is_cancelled(error, asyncio.current_task()):
            delegate.fail("It was stopped.", "cancelled")
            raise
        if deadline.expired():
            delegate.fail("It took too long.", "timed_out")
            raise DelegateFailed(f"The agent {name} took too long.") from error
        known = error_for_run(error, run=caller.context.run_id, stopping=False)
        delegate.fail(known.message, known.code)
        raise DelegateFailed(
            f"The agent {name} failed: {known.message}", retryable=known.retryable
        ) from error
    return result


class Delegate:
    """One delegate: writes what its agent yields to the run, attributed. It is its output, too."""

    def __init__(
        self, caller: Caller, name: str, message: m.UserMessage, history: Sequence[m.Message]
    ) -> None:
        self.id: Final = new_id("sub")
        self._caller = caller
        self._name = name
        self._run = caller.run
        self._sequence = RunSequence(self.id, speaker=name)
        self._context = caller.context.for_delegate(name, message, [*history, message])
        self._context.attach(self)
        self._successor: Handover | None = None
        self._result: Any = None
        """The result that the agent has ended its part with."""
        self._text: list[str] = []
        """The pieces of the newest message."""
        self._text_id = ""

    def begin(self) -> None:
        text = m.text_of(self._context.message.content)
        description = text if len(text) <= DESCRIPTION else text[: DESCRIPTION - 1] + "\u2026"
        self._run.write(e.SubagentStarted(self.id, self._name, description, self._caller.id))

    async def drive(self) -> Any:
        """Runs the agent, and the one that a router has chosen; returns what the caller gets."""
        await self._consume_output()
        while self._successor is not None:
            self._context = self._context.for_successor(self._successor)
            self._context.attach(self)
            self._sequence.speaker = self._successor.to
            self._successor = None
            await self._consume_output()
        return "".join(self._text) if self._result is None else self._result

    async def _consume_output(self) -> None:
        output = output_of(await self._caller.team.make(self._context), self._context)
        since_pause = 0
        try:
            async for item in output:
                if self._successor is not None:
                    return
                if isinstance(item, TERMINAL):
                    self._end(item)
                    return
                self.write(item)
                since_pause += 1
                if since_pause % ITEMS_PER_TURN == 0:
                    await asyncio.sleep(0)
                await self.wait_for_room()
        finally:
            await close_output(output)

    def _end(self, terminal: e.RunFinished | e.RunError) -> None:
        if isinstance(terminal, e.RunError):
            raise AgentError(terminal.message)
        if isinstance(terminal.outcome, m.InterruptOutcome):
            raise NotSupported("A delegate can't end with questions.")
        if isinstance(terminal.outcome, m.CancelledOutcome):
            raise AgentError("It was cancelled.")
        for usage in terminal.usage or ():
            self._context.report_usage(usage)
        self._result = terminal.result

    def finish(self) -> None:
        """Closes what the agent left open, and ends the delegate well."""
        self._close()
        self._run.write(e.SubagentFinished(self.id, self._result, m.SubagentSuccess()))

    def fail(self, message: str, code: str) -> None:
        """Ends the delegate with an error; the run closes it if it can't be written any more."""
        with suppress(AgentwsError):
            self._close()
            self._run.write(e.SubagentError(self.id, message, code))

    def _close(self) -> None:
        for event in self._sequence.close():
            self._run.write(self._attributed(event))

    # Implements RunOutput

    def write(self, item: Output) -> None:
        if isinstance(item, str):
            self._write_text(item)
            return
        if not isinstance(item, Event) or isinstance(item, TERMINAL):
            raise InvalidEvent(
                f"The agent yielded {type(item).__name__}.", expected="text or an AG-UI event"
            )
        check_event(item)
        if isinstance(item, e.MessagesSnapshot):
            return  # of the agent's own history, which is not the session's
        for event in self._sequence.admit(item):
            self._note_text(event)
            self._run.write(self._attributed(event))
        if isinstance(item, e.StateSnapshot | e.StateDelta):
            self._context.state = self._caller.shared.state

    def _write_text(self, delta: str) -> None:
        check_text(delta)
        if not delta:
            return
        opening, id = self._sequence.begin_text()
        for event in opening:
            self._note_text(event)
            self._run.write(self._attributed(event))
        self.write_text(id, delta)

    def write_text(self, message_id: str, delta: str) -> None:
        if message_id == self._text_id:
            self._text.append(delta)
        self._run.write_text(message_id, delta)

    def _note_text(self, event: Event) -> None:
        """Keeps the text of the newest message: it is what the delegate returns."""
        match event:
            case e.TextMessageStart(role=None | "assistant", subagent_run_id=None):
                self._text, self._text_id = [], event.message_id
            case e.TextMessageContent() if event.message_id == self._text_id:
                self._text.append(event.delta)
            case _:
                pass

    def _attributed(self, event: Any) -> Any:
        """``event`` as this delegate's; one of a subagent that its agent has started stays that."""
        if isinstance(event, e.SubagentStarted) and event.parent_subagent_run_id is None:
            return msgspec.structs.replace(event, parent_subagent_run_id=self.id)
        if isinstance(event, Attributed) and event.subagent_run_id is None:
            return msgspec.structs.replace(event, subagent_run_id=self.id)
        return event

    async def wait_for_room(self) -> None:
        await self._run.wait_for_room()

    def hand_over(self, name: str, *, reason: str | None, lasting: bool) -> None:
        if lasting:
            raise NotSupported("A delegate can't hand the conversation over: return to the caller.")
        self._caller.team.count_handoff(name, by=self._context.agent)
        self._successor = Handover(self._context.agent, name, reason, lasting)

    async def delegate(
        self,
        name: str,
        content: m.Content,
        *,
        history: Sequence[m.Message],
        within: float | None,
    ) -> Any:
        caller = self._caller._replace(
            context=self._context, id=self.id, depth=self._caller.depth + 1
        )
        return await call_delegate(caller, name, content, history=history, within=within)
