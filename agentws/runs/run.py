"""One run: an agent driven to exactly one terminal event.

    queued ─► running ─► finished | failed | cancelled

Whatever an agent does (return, raise, hang, ignore its cancellation, yield nonsense), its run ends
once, with everything open closed before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import Context
from typing import Any, Final, Literal

from ..agents.agent import Agent, RunContext
from ..errors import AgentError, AgentwsError, Fenced, InvalidEvent
from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.events import Event
from ..protocol.frames import sayable
from ..protocol.outline import patched
from ..protocol.sequence import TERMINAL, RunSequence
from ..tasks.eager import InContext
from .checking import check_event, check_text
from .documents import PATCHED, Documents
from .failure import consists_of, explained, is_cancellation
from .writer import RunWriter

logger: Final = logging.getLogger("agentws.run")

Stop = Literal["cancelled", "timed_out", "interrupted", "fenced"]
"""Why a run is stopped from outside."""

TURN: Final = 64
"""Items after which an agent that never waits lets others run."""

STOP_ERRORS: Final[dict[Stop, str]] = {
    "timed_out": "The answer took too long.",
    "interrupted": "The answer was interrupted. Please try again.",
}
"""What a stop that is an error says; ``cancelled`` is an outcome, ``fenced`` says nothing here."""


class Run:
    """Drives one agent once. ``task`` is whoever awaits :meth:`drive`."""

    __slots__ = (
        "_documents",
        "_large",
        "_sequence",
        "_task",
        "_text",
        "abandoned",
        "context",
        "ending",
        "id",
        "stopping",
        "variables",
        "writer",
    )

    def __init__(
        self, *, id: str, context: RunContext, writer: RunWriter, variables: Context | None
    ) -> None:
        self.id = id
        self.context = context
        self.writer = writer
        self.variables = Context() if variables is None else variables
        """The context variables that the agent sees: of the connection that asked, or none."""
        self.stopping: Stop | None = None
        self.abandoned = False
        self._sequence = RunSequence(id)
        self._large = writer.large
        self._documents: Documents | None = None
        self._task: asyncio.Task[Any] | None = None
        self.ending = False
        self._text: str | None = None

    def __repr__(self) -> str:
        return f"<Run {self.id} stopping={self.stopping}>"

    def stop(self, why: Stop) -> bool:
        """Asks the agent to end. False, changing nothing, when it was asked before or has ended."""
        if self.stopping is not None or self.ending:
            return False
        self.stopping = why
        if self._task is not None:
            self._task.cancel()
        return True

    async def drive(self, make: Callable[[], Awaitable[Agent]]) -> None:
        """Runs the agent to its end. Raises Fenced, or what kept the end from the store."""
        self._task = asyncio.current_task()
        try:
            if self.stopping is not None:
                terminal = self.stopped()
            else:
                terminal = await InContext(self._listen(make), self.variables)
        except GeneratorExit:
            self._task = None
            raise
        except BaseException as error:
            # An agent's exit must not be the server's, whatever it raises to get there.
            terminal = self._raised(error)
        try:
            if self._task is not None and self._task.cancelling():
                await _forget_cancellations(self._task)
        finally:
            self._task = None
        if self.abandoned or self.stopping == "fenced":
            raise Fenced()
        await self.end(terminal)

    async def end(self, terminal: Event) -> None:
        """Closes what is open and appends ``terminal``; returns when the store has it."""
        self.ending = True
        for event in self._sequence.close():
            self.writer.write_event(event)
        self.writer.write_event(terminal)
        await self.writer.drain()

    # The agent

    def _raised(self, error: BaseException) -> Event:
        """The terminal event to write where the agent raised ``error``."""
        if is_cancellation(error, asyncio.current_task()):
            return self._cancelled()
        return self._failed(explained(error, run=self.id, stopping=self.stopping is not None))

    def _cancelled(self) -> Event:
        """A cancellation is a stop asked for, the server's shutdown, or the agent's own doing."""
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()
            self.stopping = self.stopping or "interrupted"
        if self.stopping is None:
            logger.warning("run %s: the agent cancelled itself", self.id)
            return self._failed(AgentError())
        return self.stopped()

    async def _listen(self, make: Callable[[], Awaitable[Agent]]) -> Event:
        """Takes what the agent yields; returns its terminal event."""
        output: Any = (await make()).run(self.context)
        if not hasattr(output, "__aiter__"):
            _close_coroutine(output)
            raise InvalidEvent(
                "The agent's run is no async generator: write `async def run(self, ctx)` and give "
                "the text with `yield`."
            )
        source, turn = aiter(output), 0
        items: AsyncIterator[Any] | None = source
        try:
            while items is not None:
                rest = None
                async for item in items:
                    if self.stopping is not None:
                        break
                    if isinstance(item, str):
                        self._say(item)
                    elif isinstance(item, TERMINAL):
                        return self._own_terminal(item)
                    else:
                        self._write(item)
                    turn += 1
                    if turn == TURN or self.writer.pressing:
                        cancelled, turn = await self._pause(), 0
                        if cancelled is not None:
                            rest = _Resumed(source, cancelled)
                            break
                items = rest
        finally:
            await _close(output)
        return self._finished(None) if self.stopping is None else self.stopped()

    async def _pause(self) -> asyncio.CancelledError | None:
        """Lets others run, and the store catch up.

        Returns a cancellation that is no stop. A task group or a timeout of the agent's own cancels
        this task wherever it stands, and expects to see that where the agent stands: at its yield.
        """
        try:
            if self.writer.pressing:
                await self.writer.room()
            else:
                await asyncio.sleep(0)
        except asyncio.CancelledError as cancelled:
            if self.stopping is not None:
                raise
            return cancelled
        return None

    def _say(self, delta: str) -> None:
        check_text(delta)
        if len(delta) > self._large:
            self.writer.check_room(len(delta))
        if self._text is None:
            if not delta:
                return
            opening, self._text = self._sequence.begin_text()
            for event in opening:
                self.writer.write_event(event)
        self.writer.write_text(self._text, delta)

    def _write(self, item: Any) -> None:
        if not isinstance(item, Event):
            raise InvalidEvent(
                f"The agent yielded {type(item).__name__}.", expected="text or an AG-UI event"
            )
        self._text = None
        size = check_event(item)
        if size > self._large:
            self.writer.check_size(item, size)
        for event in self._sequence.admit(item):
            if type(event) in PATCHED:
                self._watch(event, size)
            self.writer.write_event(event)
        if isinstance(item, e.StateSnapshot):
            self.context.state = item.snapshot
        elif isinstance(item, e.StateDelta):
            self.context.state = patched(self.context.state, item.delta)

    def _watch(self, event: Event, size: int) -> None:
        """Takes note of what changes a value; raises EventTooLarge where that grows too large."""
        if self._documents is None:
            largest = self.writer.max_event_size
            self._documents = Documents(self.writer.shared_state, max_event_size=largest)
        self._documents.admit(event, size)

    # Terminal events

    def _own_terminal(self, event: e.RunFinished | e.RunError) -> Event:
        """The agent's own end, under this run's ids whatever it wrote."""
        if not isinstance(event, e.RunError):
            return self._finished(event)
        check_event(event)
        self.writer.check_end(event)
        return event

    def _finished(self, own: e.RunFinished | None) -> Event:
        usage = [*((own.usage if own else None) or ()), *self.context.usage]
        finished = e.RunFinished(
            self.context.session.id,
            self.id,
            own.result if own else None,
            (own.outcome if own else None) or m.SuccessOutcome(),
            usage or None,
        )
        if own or usage:
            check_event(finished)
            self.writer.check_end(finished)
        return finished

    def _failed(self, error: AgentwsError) -> Event:
        if self.stopping is not None:
            # A stop was asked for: what goes wrong on the way out is no failure of the answer.
            return self.stopped()
        return run_error(error.code, error.message, retryable=error.retryable)

    def stopped(self) -> Event:
        """The terminal event of a run that was stopped from outside."""
        if self.stopping is None or self.stopping not in STOP_ERRORS:
            return e.RunFinished(self.context.session.id, self.id, None, m.CancelledOutcome())
        return run_error(self.stopping, STOP_ERRORS[self.stopping], retryable=True)


async def _forget_cancellations(task: asyncio.Task[Any]) -> None:
    """A cancellation that the agent swallowed, or did not live to see, must not hit its end."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        pass
    while task.cancelling():
        task.uncancel()


def run_error(code: str, message: str, *, retryable: bool) -> Event:
    """The end of a run that failed. Written whatever the sentence is: no run is without an end."""
    return e.RunError(sayable(message), code, metadata={"agentws": {"retryable": retryable}})


class _Resumed(AsyncIterator[Any]):
    """What ``items`` yields after ``cancelled`` was raised in it, at its yield."""

    def __init__(self, items: Any, cancelled: asyncio.CancelledError) -> None:
        self._items = items
        self._cancelled: asyncio.CancelledError | None = cancelled

    def __anext__(self) -> Awaitable[Any]:
        cancelled, self._cancelled = self._cancelled, None
        following: Awaitable[Any]
        if cancelled is None:
            following = self._items.__anext__()
        elif hasattr(self._items, "athrow"):
            following = self._items.athrow(cancelled)
        else:
            raise cancelled  # a plain async iterator can't be told
        return following


async def _close(output: Any) -> None:
    """Closes the agent's generator; one that resists is logged, and the run ends all the same."""
    if not hasattr(output, "aclose"):
        return  # a plain async iterator has nothing to close
    try:
        await output.aclose()
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:
        # A task group around a `yield` makes a group of the very exit that closes it.
        if not consists_of(error, GeneratorExit):
            logger.exception("an agent's generator did not close")


def _close_coroutine(output: Any) -> None:
    if hasattr(output, "close"):
        output.close()
