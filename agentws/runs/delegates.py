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

from ..agents.handover import Handover
from ..agents.output import Output, RunOutput
from ..agents.run_context import RunContext
from ..agents.sharing import SharedState
from ..agents.steps import Steps, Work
from ..errors import (
    AgentError,
    AgentwsError,
    BadRequest,
    DelegateFailed,
    InvalidEvent,
    NotSupported,
    ReplayDiverged,
)
from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.events import Attributed, Event, JsonPatch
from ..protocol.sequence import TERMINAL, RunSequence
from ..protocol.text import plain
from .failure import error_for_run, is_cancelled, is_closed
from .generator import ITEMS_PER_TURN, close_generator, output_of
from .ids import new_id
from .team import Team
from .validation import as_read, check_text, checked_event

_encoder: Final = msgspec.json.Encoder()
DESCRIPTION: Final = 500
"""Characters of the task that SUBAGENT_STARTED shows."""


class Caller(NamedTuple):
    """Who calls a delegate: the run's own agent, or another delegate."""

    run: RunOutput
    """The output of the whole run, which all delegates write to."""
    context: RunContext
    team: Team
    work: tuple[Work, ...] = ()
    """The calls that it is called in."""
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
    if isinstance(content, str):
        content = plain(content)
    steps = caller.run.steps
    step = steps.next("delegate", name, _encoder.encode(content), caller.work)
    recorded = steps.delegate(step)
    if recorded is not None:
        return _recorded(name, recorded)
    caller.team.count_delegate(name, depth=caller.depth + 1)
    limit, task = asyncio.timeout(within), asyncio.current_task()
    delegate = Delegate(caller, name, m.UserMessage(new_id("msg"), content), history, limit, step)
    delegate.begin()
    caller.team.working.append(delegate)
    try:
        async with limit:
            result = await delegate.drive()
        delegate.finish(result)
    except BaseException as error:
        if is_closed(error, task):
            raise
        # An agent may raise SystemExit: the caller must not exit by that.
        raise _failed(delegate, name, error, caller, late=limit.expired()) from error
    finally:
        caller.team.working.remove(delegate)
    return result


def _failed(
    delegate: Delegate, name: str, error: BaseException, caller: Caller, *, late: bool
) -> BaseException:
    """Ends a delegate that raised ``error``; returns what its caller is to get."""
    if is_cancelled(error, asyncio.current_task()):
        delegate.fail("It was stopped.", "cancelled", final=False)
        return error
    if late:
        delegate.fail("It took too long.", "timed_out")
        return DelegateFailed(f"The agent {name} took too long.")
    if isinstance(error, ReplayDiverged):
        delegate.fail(error.message, error.code, final=False)
        return error
    known = error_for_run(error, run=caller.context.run_id, stopping=False)
    delegate.fail(known.message, known.code)
    return DelegateFailed(f"The agent {name} failed: {known.message}", retryable=known.retryable)


def _recorded(name: str, end: e.SubagentFinished | e.SubagentError) -> Any:
    """The result of a delegate that had ended before its run went on with an answer."""
    if isinstance(end, e.SubagentFinished):
        return end.result
    raise DelegateFailed(f"The agent {name} failed: {end.message}")


class Delegate:
    """One delegate: writes what its agent yields to the run, attributed. It is its output, too."""

    def __init__(
        self,
        caller: Caller,
        name: str,
        message: m.UserMessage,
        history: Sequence[m.Message],
        limit: asyncio.Timeout,
        step: str,
    ) -> None:
        self.id: Final = new_id("sub")
        self._caller = caller
        self._name = name
        self._run = caller.run
        self._sequence = RunSequence(self.id, speaker=name)
        self._step = step
        self._parts = 1
        """In how many runs it has worked: it goes on in another one after a question."""
        self._work = Work(self.id, limit, step)
        before = caller.run.steps.suspended(step)
        self._chosen = before.agent
        """The agent that a router has chosen, if it is called again: it is not asked again."""
        self._context = caller.context.for_delegate(
            name,
            message,
            [*history, message],
            work=(*caller.work, self._work),
            parts=before.ids,
        )
        self._context.attach(self)
        self._successor: Handover | None = None
        self._result: Any = None
        """The result that the agent has ended its part with."""
        self._text: list[str] = []
        """The pieces of the newest message."""
        self._text_id = ""

    def begin(self) -> None:
        self._run.write(self._started())

    def _started(self) -> e.SubagentStarted:
        text = m.text_of(self._context.message.content)
        description = text if len(text) <= DESCRIPTION else text[: DESCRIPTION - 1] + "\u2026"
        return e.SubagentStarted(self.id, self._name, description, self._caller.id)

    def suspend(self) -> list[Event]:
        """Implements :meth:`.team.Subagent.suspend`."""
        own = [one.id for one in self.steps.questions if one.subagent_run_id == self.id]
        outcome, told = m.SubagentSuspended(own or None), {"step": self._step}
        if self._context.agent != self._name:
            told["agent"] = self._context.agent
        ended = e.SubagentFinished(self.id, None, outcome, metadata={"agentws": told})
        return [*map(self._attributed, self._sequence.close()), ended]

    def restart(self) -> Event:
        """Implements :meth:`.team.Subagent.restart`."""
        self._parts += 1
        self._sequence = RunSequence(f"{self.id}_{self._parts}", speaker=self._sequence.speaker)
        return self._started()

    async def drive(self) -> Any:
        """Runs the agent, and the one that a router has chosen; returns what the caller gets."""
        await self._run.steps.begin(self._work)
        try:
            return await self._drive()
        finally:
            self._run.steps.end(self._work)

    async def _drive(self) -> Any:
        if self._chosen is None:
            await self._consume_output()
        else:
            self.hand_over(self._chosen, reason=None, lasting=False)
        while self._successor is not None:
            # The steps of a router are not those of the agent that it has chosen.
            self._work.step = f"{self._step}>{self._successor.to}"
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
            await close_generator(output)

    def _end(self, terminal: e.RunFinished | e.RunError) -> None:
        for usage in terminal.usage or ():
            self._context.report_usage(usage)
        if isinstance(terminal, e.RunError):
            raise AgentError(terminal.message)
        outcome = as_read(terminal).outcome
        if isinstance(outcome, m.InterruptOutcome):
            raise NotSupported("A delegate can't end with questions.")
        if isinstance(outcome, m.CancelledOutcome):
            raise AgentError("It was cancelled.")
        self._result = terminal.result

    def finish(self, result: Any) -> None:
        """Closes what the agent left open, and ends the delegate well.

        The result is recorded, unless it is too large: then the delegate works again if its caller
        is called again.
        """
        self._close()
        success, told = m.SubagentSuccess(), {"agentws": {"step": self._step}}
        ended = e.SubagentFinished(self.id, result, success, metadata=told)
        if len(_encoder.encode(result)) > self._run.largest_result and isinstance(result, str):
            ended = e.SubagentFinished(self.id, None, success)
        self._run.write(ended)

    def fail(self, message: str, code: str, *, final: bool = True) -> None:
        """Ends the delegate with an error; the run closes it if it can't be written any more.

        ``final``: that is its result, also if its caller is called again.
        """
        told = {"agentws": {"step": self._step}} if final else None
        with suppress(AgentwsError):
            self._close()
            self._run.write(e.SubagentError(self.id, message, code, metadata=told))

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
        item = checked_event(item)[0]
        if isinstance(item, e.MessagesSnapshot):
            return  # of the agent's own history, which is not the session's
        for event in self._sequence.admit(item):
            self._note_text(event)
            self._run.write(self._attributed(event))

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

    @property
    def subagent(self) -> str:
        return self.id

    @property
    def steps(self) -> Steps:
        return self._run.steps

    @property
    def steering(self) -> Any:
        return self._run.steering

    @property
    def shared(self) -> SharedState:
        return self._run.shared

    def patch_state(self, patch: JsonPatch) -> None:
        if not self._run.steps.replaying:
            self._run.shared.check(patch)
            self.write(e.StateDelta(patch))

    @property
    def largest_result(self) -> int:
        return self._run.largest_result

    def record(self, event: e.AgentEvent) -> bool:
        written = [self._run.record(self._attributed(one)) for one in self._sequence.admit(event)]
        return all(written)

    async def wait_for_room(self) -> None:
        await self._run.wait_for_room()

    def hand_over(self, name: str, *, reason: str | None, lasting: bool) -> None:
        if lasting:
            raise NotSupported("A delegate can't hand the conversation over: return to the caller.")
        to = self._caller.team.count_handoff(name, by=self._context.agent)
        self._successor = Handover(self._context.agent, to, reason, lasting)

    async def delegate(
        self,
        name: str,
        content: m.Content,
        *,
        history: Sequence[m.Message],
        within: float | None,
        work: tuple[Work, ...],
    ) -> Any:
        depth = self._caller.depth + 1
        caller = self._caller._replace(context=self._context, work=work, id=self.id, depth=depth)
        return await call_delegate(caller, name, content, history=history, within=within)
