"""A run whose agent may call tools and ask, and that waits in memory for the answers.

    running ─► waiting (its run in the log has ended, with the questions)
                 ├─► running again, as the run that resumes with the answers
                 └─► let go: the agent is cancelled, and called again for the answers

While it waits, it has no active run in the log. What the agent writes then is held back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from typing import Any, Final

from ..agents.calls import stopped_results
from ..agents.handover import Handover
from ..agents.output import Output
from ..agents.run_context import RunContext
from ..agents.steps import NOTHING_RECORDED, Recorded, Steps, Work
from ..errors import InvalidEvent, ReplayDiverged
from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.events import Event, JsonPatch
from ..protocol.sequence import RunSequence
from ..protocol.text import plain
from .delegates import Caller, call_delegate
from .failure import Stop
from .ids import now_ms
from .run import Run
from .steering import Steering
from .team import Team, handover_events
from .validation import check_event
from .writer import RunWriter

AROUND_RESULT: Final = 2048
"""Bytes of a TOOL_CALL_RESULT beside its content, at most."""


class AskingRun(Run):
    """A run with the steps of its agent: its calls and questions."""

    __slots__ = (
        "_origin",
        "_recorded",
        "_steering",
        "_steps",
        "on_interrupted",
        "on_waiting",
        "timer",
    )

    def __init__(
        self,
        context: RunContext,
        writer: RunWriter,
        variables: Context,
        team: Team,
        *,
        origin: Mapping[str, Any] | None = None,
        recorded: Recorded = NOTHING_RECORDED,
    ) -> None:
        """``origin`` and ``recorded``: what an agent goes on from that is called again."""
        super().__init__(context, writer, variables, team)
        self.on_waiting: Callable[[AskingRun], None] | None = None
        """Called when the agent only waits for answers; see :meth:`park`."""
        self.on_interrupted: Callable[[e.RunError], Awaitable[bool]] | None = None
        """Called with the end of a run that a drain has stopped, when everything else is in the
        store: it may append that itself, and returns whether it has."""
        self.timer: asyncio.TimerHandle | None = None
        """What ends it when it waits too long in memory."""
        self._origin = origin
        self._recorded = recorded
        self._steps: Steps | None = None
        self._steering: Steering | None = None
        context.attach(self)

    def stop(self, why: Stop) -> bool:
        """:meth:`Run.stop`; without effect while the run waits, since no run is active then."""
        return self.parked is None and super().stop(why)

    def call_later(self, seconds: float, then: Callable[[], object]) -> None:
        """Calls ``then`` in ``seconds``; see :meth:`stop_timer`."""
        self.stop_timer()
        # An event loop keeps a cancelled timer for a while, and its context: so an empty one.
        self.timer = asyncio.get_running_loop().call_later(seconds, then, context=Context())

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def detach(self) -> None:
        """Drops what refers to its session: without cycles, memory is freed at once."""
        if self.timer is not None:
            self.stop_timer()
            self.timer = None
        self.on_waiting = self.on_interrupted = None
        if self._steering is not None:
            self._steering.close()
            self._steering = None
        # The context, which the agent may keep, refers to this run: a cycle, which only the
        # garbage collector frees.
        self.ending = True
        if not self.abandoned:  # another task ends that one
            del self.context

    def before_end(self, terminal: Event) -> Event:
        """Writes the results of unfinished calls. An agent may not end without its answers."""
        if self._steering is not None:
            self._steering.close()
        if self._steps is None and not self._recorded.resuming:
            return terminal
        for event in stopped_results(self):
            self.writer.write_event(event)
        self.steps.cancel()
        success = isinstance(terminal, e.RunFinished) and self.stopping is None
        return self.failed_event(ReplayDiverged()) if self.steps.replaying and success else terminal

    async def ended_elsewhere(self, end: Event) -> bool:
        """Implements :meth:`.run.Run.ended_elsewhere`."""
        if self.on_interrupted is None or not isinstance(end, e.RunError):
            return False
        await self.writer.drain()
        return await self.on_interrupted(end)

    # What the context needs

    @property
    def subagent(self) -> str | None:
        """Implements :attr:`agentws.agents.output.RunOutput.subagent`."""
        return None

    def hand_over(self, name: str, *, reason: str | None, lasting: bool) -> None:
        """Implements :meth:`agentws.agents.output.RunOutput.hand_over`."""
        if self.ending or self.over:
            raise InvalidEvent("This agent's part of the run has ended.")
        to = self._team.count_handoff(name, by=self.context.agent)
        given = plain(reason) if isinstance(reason, str) else reason
        # One event that can't be read would make the whole log unreadable.
        handover = Handover(self.context.agent, to, given, lasting)
        for event in handover_events(handover):
            self.writer.check_size(event, check_event(event))
        self._successor = handover
        self.over = True

    def _take_over(self, handover: Handover) -> None:
        steps = self.steps
        super()._take_over(handover)
        self.context.attach(self)
        steps.hand_over(handover.to)

    async def delegate(
        self,
        name: str,
        content: m.Content,
        *,
        history: Sequence[m.Message],
        within: float | None,
        work: tuple[Work, ...],
    ) -> Any:
        """Implements :meth:`agentws.agents.output.RunOutput.delegate`."""
        self.check_open()
        caller = Caller(self, self.context, self._team, work)
        return await call_delegate(caller, name, content, history=history, within=within)

    @property
    def steps(self) -> Steps:
        """Implements :attr:`agentws.agents.output.RunOutput.steps`."""
        if self._steps is None:
            prefix = self.id.removeprefix("run_")
            speaker = self.sequence.speaker
            self._steps = Steps(self, prefix=prefix, recorded=self._recorded, agent=speaker)
        return self._steps

    @property
    def steering(self) -> Steering:
        """Implements :attr:`agentws.agents.output.RunOutput.steering`."""
        if self._steering is None:
            self._steering = Steering(self)
        return self._steering

    def end_text(self) -> None:
        """Implements :meth:`agentws.runs.steering.SteeredRun.end_text`."""
        self._text = None
        for event in self.sequence.end_text():
            self.writer.write_event(event)

    @property
    def largest_result(self) -> int:
        """Implements :attr:`agentws.agents.output.RunOutput.largest_result`."""
        return self.writer.max_event_size - AROUND_RESULT

    def write(self, item: Output) -> None:
        """:meth:`Run.write`; raises TooLarge for too much output while the run waits."""
        if self.parked is not None:
            self.writer.check_held()
        super().write(item)

    def record(self, event: e.AgentEvent) -> bool:
        """Implements :meth:`agentws.agents.output.RunOutput.record`."""
        self.check_open()
        if self.parked is not None:
            self.writer.check_held()
        if self.stopping is None:
            # Also after a handoff: the call has been made.
            Run._write_event(self, event)
            self.writer.flush_soon()
        return self.stopping is None

    def origin(self) -> dict[str, Any]:
        """Implements :meth:`agentws.agents.steps.StepHost.origin`."""
        self.check_open()
        if self._origin is None:
            identity = self.context.identity
            by = {} if identity is None else {"by": identity.id}
            self._origin = {"origin": self.writer.begun_at, **by}
        return dict(self._origin)

    def replayed(self) -> None:
        """Implements :meth:`agentws.agents.steps.StepHost.replayed`."""
        for event in self._team.restart():
            self._write_event(event)

    def now(self) -> int:
        """Implements :meth:`agentws.agents.steps.StepHost.now`."""
        return now_ms()

    def check_questions(self, questions: Sequence[m.Interrupt]) -> None:
        """Implements :meth:`agentws.agents.steps.StepHost.check_questions`."""
        self.check_open()
        asking = self._asking(questions)
        check_event(asking)
        self.writer.check_terminal(asking)

    def _asking(self, questions: Sequence[m.Interrupt]) -> e.RunFinished:
        outcome = m.InterruptOutcome(list(questions))
        usage = self.context.usage or None
        return e.RunFinished(self.context.session.id, self.id, None, outcome, usage)

    async def until_running(self) -> None:
        """Implements :meth:`agentws.agents.steps.StepHost.until_running`."""
        while self.parked is not None:
            await asyncio.shield(self.parked)

    def is_waiting(self) -> None:
        """Implements :meth:`agentws.agents.steps.StepHost.is_waiting`."""
        if self.parked is None:
            # Later: the agent may call or ask more before it waits.
            asyncio.get_running_loop().call_soon(self._report_waiting)

    def _report_waiting(self) -> None:
        idle = self._steps is not None and self._steps.idle and self.parked is None
        if idle and not self.ending and self.stopping is None and self.on_waiting is not None:
            self.on_waiting(self)

    # Waiting for answers

    def park(self, run: str, writer: RunWriter) -> RunWriter:
        """Ends the run in the log with the questions that the agent waits for.

        The agent goes on as ``run``; what it writes until that begins is held by ``writer``.
        Returns the writer that is to be drained.
        """
        for event in self._team.suspend():
            self._write_event(event)
        for event in self.sequence.close():
            self.writer.write_event(event)
        self.writer.write_event(self._asking(self.steps.questions))
        writer.hold()
        ended, self.writer = self.writer, writer
        self.id = self.context.run_id = run
        self.context.usage.clear()
        self.sequence = RunSequence(run, speaker=self.sequence.speaker)
        self._text, self._documents = None, None
        if self._shared is not None:
            self._shared.park(run)
        for event in self._team.restart():
            self._write_event(event)
        self.parked = asyncio.get_running_loop().create_future()
        return ended

    def resume(self, answers: Sequence[e.InterruptAnswered]) -> None:
        """Gives the answers to the waiting agent, after its run has begun."""
        parked, self.parked = self.parked, None
        if self._shared is not None:
            self._shared.resume()
        self.steps.answer(answers)
        # The agent may have asked more meanwhile.
        self.steps.report_idle()
        if parked is not None and not parked.done():
            parked.set_result(None)
        self.writer.flush()

    def let_go(self) -> None:
        """Cancels a waiting agent, and drops what it writes. It is called again for the answers."""
        self.abandoned, self.stopping = True, "fenced"
        self.writer.close()
        self.steps.cancel()
        if self.parked is not None:
            self.parked.cancel()
        if self.task is not None:
            self.task.cancel()


class ReplayedRun(AskingRun):
    """The run of an agent that is called again: what it repeats is in the log and is dropped."""

    __slots__ = ()

    def _write_text(self, delta: str) -> None:
        if not self.steps.replaying:
            super()._write_text(delta)

    def write_text(self, message_id: str, delta: str) -> None:
        if not self.steps.replaying:
            super().write_text(message_id, delta)

    def _write_event(self, item: Any) -> None:
        if not self.steps.replaying:
            super()._write_event(item)

    def patch_state(self, patch: JsonPatch) -> None:
        # What it repeats has changed the state before, and need not apply to it again.
        if not self.steps.replaying:
            super().patch_state(patch)
