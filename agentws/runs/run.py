"""One run: drives an agent to exactly one terminal event.

    queued ─► running ─► finished | failed | cancelled

Whatever an agent does (return, raise, hang, ignore its cancellation, yield invalid events), its run
ends once. Everything that it left open is closed first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from contextvars import Context
from typing import Any, Final

from ..agents.handover import Handover
from ..agents.output import Output
from ..agents.run_context import RunContext
from ..errors import AgentError, AgentwsError, Fenced, InvalidEvent
from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.events import Event, JsonPatch
from ..protocol.sequence import TERMINAL, RunSequence
from ..tasks.eager import InContext
from .documents import PATCHED, Documents
from .failure import (
    STOP_ERRORS,
    Stop,
    clear_cancellations,
    error_for_run,
    final_error,
    is_cancellation,
    is_closed,
    run_error,
    with_usage,
)
from .generator import ITEMS_PER_TURN, ResumedIterator, close_generator, has_ended, output_of
from .shared_state import RunState
from .team import Team, handover_events
from .validation import as_read, check_event, check_text, checked_event
from .writer import RunWriter

logger: Final = logging.getLogger("agentws.run")


class Run:
    """Drives one agent once, in the task that awaits :meth:`drive`."""

    __slots__ = (
        "_check_from",
        "_documents",
        "_shared",
        "_successor",
        "_team",
        "_text",
        "abandoned",
        "context",
        "ending",
        "first",
        "has_slot",
        "id",
        "is_zombie",
        "over",
        "parked",
        "sequence",
        "stopping",
        "task",
        "variables",
        "writer",
    )

    def __init__(
        self, context: RunContext, writer: RunWriter, variables: Context, team: Team
    ) -> None:
        self.id = context.run_id
        self.context = context
        self.writer = writer
        self.variables = variables
        """The context variables that the agent sees: those of the sender's connection, or none."""
        self.stopping: Stop | None = None
        self.abandoned = False
        self.over = False
        """Whether what the agent still yields is dropped: its run is stopped, or handed over."""
        self.ending = False
        self.task: asyncio.Task[Any] | None = None
        """The task that drives the agent."""
        self.first = 0
        """The seq of its first event."""
        self.is_zombie = False
        """Whether its agent ignored its cancellation."""
        self.parked: asyncio.Future[None] | None = None
        """Done when the run resumes, while its agent waits for answers without an active run."""
        self.has_slot = True
        """Whether it counts as one of the active runs of this node."""
        self.sequence = RunSequence(self.id, speaker=team.speaker(context.agent))
        """The order of its events, with what is open in it and who speaks."""
        self._team = team
        self._check_from = writer.large
        self._successor: Handover | None = None
        self._documents: Documents | None = None
        self._shared: RunState | None = None
        self._text: str | None = None

    def __repr__(self) -> str:
        return f"<Run {self.id} stopping={self.stopping}>"

    def stop(self, why: Stop) -> bool:
        """Cancels the agent. False, with no effect, when it was stopped before or has ended."""
        if self.stopping is not None or self.ending:
            return False
        self.stopping, self.over = why, True
        if self.task is not None:
            self.task.cancel()
        return True

    def give_up_slot(self) -> bool:
        """Whether it had a slot, which it has no longer."""
        had, self.has_slot = self.has_slot, False
        return had

    async def drive(self) -> None:
        """Runs the agent to its end. Raises Fenced, and what appending the end raises."""
        task = self.task = asyncio.current_task()
        try:
            if self.stopping is not None:
                terminal = self.stopped_event()
            else:
                terminal = await self._call_agent()
                while self._successor is not None and self.stopping is None:
                    self._take_over(self._successor)
                    terminal = await self._call_agent()
        except BaseException as error:
            if is_closed(error, self.task):
                self.task = None
                raise
            # An agent may raise SystemExit: the server must not exit by that.
            terminal = self._terminal_for(error)
        if self.parked is not None and self.stopping is None:
            terminal = await self._until_resumed(self.parked, terminal)
        try:
            if self.task is not None and self.task.cancelling():
                await clear_cancellations(self.task)
        finally:
            self.task = None
        if self.abandoned or self.stopping == "fenced" or self.parked is not None:
            if self._shared is not None:
                self._shared.close()
            raise Fenced()
        try:
            await self.end(terminal)
        except asyncio.CancelledError:
            # By what the agent left behind, or by a loop that is closed. One is ignored: the end of
            # a run must be in the log. But a store may never answer.
            if self.stopping == "interrupted":
                raise
            self.stopping = "interrupted"
            await clear_cancellations(task)
            await self.writer.drain()

    async def _until_resumed(self, resumed: asyncio.Future[None], terminal: Event) -> Event:
        """Waits with the end of an agent that did not wait for its answers."""
        try:
            await resumed
        except asyncio.CancelledError as error:
            return self._terminal_for(error)
        return terminal

    def end(self, terminal: Event) -> Awaitable[None]:
        """Closes what is open and appends ``terminal``; awaited, until that is in the store."""
        self.ending = True
        if self._shared is not None:
            self._shared.close()
        for event in self.sequence.close():
            self.writer.write_event(event)
        end = self.before_end(terminal)
        if usage := self.context.usage:
            end = with_usage(end, usage, self.writer.check_terminal)
        if self.stopping == "interrupted":
            return self._end_interrupted(end)
        self.writer.write_event(end)
        return self.writer.drain()

    async def _end_interrupted(self, end: Event) -> None:
        if not await self.ended_elsewhere(end):
            self.writer.write_event(end)
            await self.writer.drain()

    async def ended_elsewhere(self, end: Event) -> bool:
        """Whether the end of an interrupted run was appended already, with what follows it."""
        return False

    def before_end(self, terminal: Event) -> Event:
        """Writes what must precede the end; returns the terminal event that is right then."""
        return terminal

    # The agent

    def _terminal_for(self, error: BaseException) -> Event:
        """The terminal event of an agent that raised ``error``."""
        if is_cancellation(error, asyncio.current_task()):
            return self._cancelled_event()
        failed = error_for_run(error, run=self.id, stopping=self.stopping is not None)
        return self.failed_event(failed)

    def _cancelled_event(self) -> Event:
        """The terminal event after a cancellation: by a stop, a shutdown, or the agent itself."""
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()
            self.stopping = self.stopping or "interrupted"
        if self.stopping is None:
            logger.warning("run %s: the agent cancelled itself", self.id)
            return self.failed_event(AgentError())
        return self.stopped_event()

    def _call_agent(self) -> Awaitable[Event]:
        return InContext(self._consume_output(), self.variables, self._flush)

    def _flush(self) -> None:
        # By the writer of the moment: a run that waits for answers gets another one.
        self.writer.flush()

    async def _consume_output(self) -> Event:
        """Writes what the agent yields; returns the terminal event."""
        agent = self._team.make_at_once(self.context)
        if agent is None:
            agent = await self._team.make(self.context)
        output = output_of(agent, self.context)
        source, since_pause = aiter(output), 0
        items: AsyncIterator[Any] | None = source
        try:
            while items is not None:
                rest = None
                async for item in items:
                    if self.over:
                        break
                    if isinstance(item, str):
                        self._write_text(item)
                    elif isinstance(item, TERMINAL):
                        return self._agent_terminal(item)
                    else:
                        self._write_event(item)
                    since_pause += 1
                    if since_pause == ITEMS_PER_TURN or self.writer.backpressure:
                        cancelled, since_pause = await self._pause(), 0
                        if cancelled is not None:
                            rest = ResumedIterator(source, cancelled)
                            break
                items = rest
        finally:
            if not has_ended(output):
                await close_generator(output)
        return self._finished_event(None) if self.stopping is None else self.stopped_event()

    def write(self, item: Output) -> None:
        """Implements :meth:`agentws.agents.output.RunOutput.write`."""
        self.check_open()
        if self.over:
            return
        if isinstance(item, str):
            self._write_text(item)
        elif isinstance(item, TERMINAL):
            raise InvalidEvent(
                f"{type(item).__name__} ends a run.", expected="an agent that yields it, or returns"
            )
        else:
            self._write_event(item)
        # The task that writes need not be the one whose waiting flushes the output.
        self.writer.flush_soon()

    def write_text(self, message_id: str, delta: str) -> None:
        """Implements :meth:`agentws.agents.output.RunOutput.write_text`."""
        self.check_open()
        if self.over:
            return
        check_text(delta)
        self.writer.check_room(len(delta))
        self.writer.write_text(message_id, delta)
        self.writer.flush_soon()

    def check_open(self) -> None:
        """Raises InvalidEvent after the end of the run."""
        if self.ending:
            raise InvalidEvent("This run has ended.", expected="output before the agent returns")

    async def wait_for_room(self) -> None:
        """Implements :meth:`agentws.agents.output.RunOutput.wait_for_room`."""
        await self.writer.wait_for_room()

    @property
    def shared(self) -> RunState:
        """Implements :attr:`agentws.agents.output.RunOutput.shared`."""
        if self._shared is None:
            session, largest = self.writer.session, self.writer.max_event_size
            self._shared = RunState(session, self.id, max_event_size=largest, ended=self.ending)
        return self._shared

    def patch_state(self, patch: JsonPatch) -> None:
        """Implements :meth:`agentws.agents.output.RunOutput.patch_state`."""
        self.shared.check(patch)
        self.write(e.StateDelta(patch))

    # Other agents

    def _take_over(self, handover: Handover) -> None:
        """Closes what the agent left open, and goes on with the one that it has chosen."""
        for event in (*self.sequence.close(), *handover_events(handover)):
            self.writer.write_event(event)
        self.context = self.context.for_successor(handover)
        self.sequence.speaker = self._team.speaker(handover.to)
        self._successor, self._text, self.over = None, None, False

    async def _pause(self) -> asyncio.CancelledError | None:
        """Gives way to other tasks, and waits for the store (backpressure).

        Returns a cancellation that is not a stop of the run. A task group or a timeout of the agent
        may cancel this task while it waits here; it must be raised at the agent's ``yield``.
        """
        try:
            if self.writer.backpressure:
                await self.writer.wait_for_room()
            else:
                await asyncio.sleep(0)
        except asyncio.CancelledError as cancelled:
            if self.stopping is not None:
                raise
            return cancelled
        return None

    def _write_text(self, delta: str) -> None:
        check_text(delta)
        if len(delta) > self._check_from:
            self.writer.check_room(len(delta))
        if self._text is None:
            if not delta:
                return
            opening, self._text = self.sequence.begin_text()
            for event in opening:
                self.writer.write_event(event)
        self.writer.write_text(self._text, delta)

    def _write_event(self, item: Any) -> None:
        if not isinstance(item, Event):
            raise InvalidEvent(
                f"The agent yielded {type(item).__name__}.", expected="text or an AG-UI event"
            )
        self._text = None
        item, size = checked_event(item)
        if size > self._check_from:
            self.writer.check_size(item, size)
        for event in self.sequence.admit(item):
            if type(event) in PATCHED:
                self._track_document(event, size)
            self.writer.write_event(event)

    def _track_document(self, event: Event, size: int) -> None:
        """Applies an event to the state or an activity; raises EventTooLarge for the result."""
        if isinstance(event, e.StateSnapshot | e.StateDelta):
            self.shared.admit(event, size)
            return
        if self._documents is None:
            self._documents = Documents(max_event_size=self.writer.max_event_size)
        self._documents.admit(event, size)

    # Terminal events

    def _agent_terminal(self, event: e.RunFinished | e.RunError) -> Event:
        """The terminal event that the agent yielded, with the ids of this run."""
        event = as_read(event)
        if not isinstance(event, e.RunError):
            return self._finished_event(event)
        self.writer.check_terminal(event)
        return final_error(event)

    def _finished_event(self, own: e.RunFinished | None) -> Event:
        session, usage = self.context.session.id, self.context.usage
        if own is None and not usage:
            return e.RunFinished(session, self.id, None, m.SuccessOutcome())
        own = own or e.RunFinished(session, self.id)
        usage = [*(own.usage or ()), *usage]
        outcome = own.outcome or m.SuccessOutcome()
        finished = e.RunFinished(session, self.id, own.result, outcome, usage or None)
        check_event(finished)
        self.writer.check_terminal(finished)
        return finished

    def failed_event(self, error: AgentwsError) -> Event:
        """The terminal event of a run that failed with ``error``."""
        if self.stopping is not None:
            # An error while the agent is being stopped is no failure of the run.
            return self.stopped_event()
        return run_error(error.code, error.message, retryable=error.retryable)

    def stopped_event(self) -> Event:
        """The terminal event of a run that was stopped from outside."""
        if self.stopping is None or self.stopping not in STOP_ERRORS:
            return e.RunFinished(self.context.session.id, self.id, None, m.CancelledOutcome())
        return run_error(self.stopping, STOP_ERRORS[self.stopping], retryable=True)
