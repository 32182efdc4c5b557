"""A run whose agent may call tools and ask, and that waits in memory for the answers.

    running ─► waiting (its run in the log has ended, with the questions)
                 ├─► running again, as the run that resumes with the answers
                 └─► let go: the agent is cancelled, and called again for the answers

While it waits, it has no active run in the log. What the agent writes then is held back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import Any, Final

from ..agents.agent import RunContext
from ..agents.calls import stopped_results
from ..agents.steps import NOTHING_RECORDED, Recorded, Steps
from ..errors import ReplayDiverged
from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.events import Event
from ..protocol.sequence import RunSequence
from .ids import now_ms
from .run import Run, Stop
from .validation import check_event
from .writer import RunWriter

AROUND_RESULT: Final = 2048
"""Bytes of a TOOL_CALL_RESULT beside its content, at most."""


class AskingRun(Run):
    """A run with the steps of its agent: its calls and questions."""

    __slots__ = ("_origin", "_recorded", "_steps", "on_waiting")

    def __init__(
        self,
        *,
        id: str,
        context: RunContext,
        writer: RunWriter,
        variables: Context,
        origin: Mapping[str, Any] | None = None,
        recorded: Recorded = NOTHING_RECORDED,
    ) -> None:
        """``origin`` and ``recorded``: what an agent goes on from that is called again."""
        super().__init__(id=id, context=context, writer=writer, variables=variables)
        self._origin = origin
        self._recorded = recorded
        self._steps: Steps | None = None
        self.on_waiting: Callable[[AskingRun], None] | None = None
        """Called when the agent only waits for answers; see :meth:`park`."""
        context.attach(self)

    def stop(self, why: Stop) -> bool:
        """:meth:`Run.stop`; without effect while the run waits, since no run is active then."""
        return self.parked is None and super().stop(why)

    def before_end(self, terminal: Event) -> Event:
        """Writes the results of unfinished calls. An agent may not end without its answers."""
        if self._steps is None and not self._recorded.resuming:
            return terminal
        for event in stopped_results(self):
            self.writer.write_event(event)
        success = isinstance(terminal, e.RunFinished) and self.stopping is None
        return self.failed_event(ReplayDiverged()) if self.steps.replaying and success else terminal

    # What the context needs

    @property
    def steps(self) -> Steps:
        """Implements :attr:`agentws.agents.output.RunOutput.steps`."""
        if self._steps is None:
            prefix = self.id.removeprefix("run_")
            self._steps = Steps(self, prefix=prefix, recorded=self._recorded)
        return self._steps

    @property
    def largest_result(self) -> int:
        """Implements :attr:`agentws.agents.output.RunOutput.largest_result`."""
        return self.writer.max_event_size - AROUND_RESULT

    def record(self, event: e.AgentEvent) -> bool:
        """Implements :meth:`agentws.agents.output.RunOutput.record`."""
        Run.write(self, event)
        return self.stopping is None

    def origin(self) -> dict[str, Any]:
        """Implements :meth:`agentws.agents.steps.StepHost.origin`."""
        if self._origin is None:
            identity = self.context.identity
            by = {} if identity is None else {"by": identity.id}
            self._origin = {"origin": self.writer.begun_at, **by}
        return dict(self._origin)

    def now(self) -> int:
        """Implements :meth:`agentws.agents.steps.StepHost.now`."""
        return now_ms()

    def check_questions(self, questions: Sequence[m.Interrupt]) -> None:
        """Implements :meth:`agentws.agents.steps.StepHost.check_questions`."""
        asking = self._asking(questions)
        check_event(asking)
        self.writer.check_terminal(asking)

    def _asking(self, questions: Sequence[m.Interrupt]) -> e.RunFinished:
        outcome = m.InterruptOutcome(list(questions))
        usage = self.context.usage or None
        return e.RunFinished(self.context.session.id, self.id, None, outcome, usage)

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
        for event in self._sequence.close():
            self.writer.write_event(event)
        self.writer.write_event(self._asking(self.steps.questions))
        writer.hold()
        ended, self.writer = self.writer, writer
        self.id = self.context.run_id = run
        self.context.usage.clear()
        self._sequence, self._text, self._documents = RunSequence(run), None, None
        if self._steering is not None:
            self._steering.continue_as(writer)
        self.parked = asyncio.get_running_loop().create_future()
        if self._driving is not None:
            self._driving.on_wait = writer.flush
        return ended

    def resume(self, answers: Sequence[e.InterruptAnswered], *, state: Any) -> None:
        """Gives the answers to the waiting agent, after its run has begun."""
        parked, self.parked = self.parked, None
        self.context.state = state
        self.steps.answer(answers)
        if parked is not None and not parked.done():
            parked.set_result(None)
        self.writer.flush()

    def let_go(self) -> None:
        """Cancels a waiting agent, and drops what it writes. It is called again for the answers."""
        self.abandoned, self.stopping = True, "fenced"
        self.writer.close()
        if self.task is not None:
            self.task.cancel()


class ReplayedRun(AskingRun):
    """The run of an agent that is called again: what it repeats is in the log and is dropped."""

    __slots__ = ()

    def _write_text(self, delta: str) -> None:
        if not self.steps.replaying:
            super()._write_text(delta)

    def _write_event(self, item: Any) -> None:
        if not self.steps.replaying:
            super()._write_event(item)

    def record(self, event: e.AgentEvent) -> bool:
        self.check_open()
        if self.stopping is None:
            super()._write_event(event)
            self.writer.flush_soon()
        return self.stopping is None
