"""The beginning of a run: the context for its agent, and its RUN_STARTED."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextvars import Context
from functools import partial
from typing import Any, Final

import msgspec

from ..agents.context import Earlier
from ..agents.factory import Agents
from ..agents.run_context import RunContext
from ..attachments.library import Files
from ..auth import Identity
from ..errors import VersionConflict
from ..limits import Limits
from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.outline import Outline
from ..sessions.senders import Sender
from ..sessions.session import Session
from ..tasks.tasks import Tasks
from .asking import AskingRun, ReplayedRun
from .attempts import next_attempt, read_recorded
from .ids import new_id, now_ms
from .replay import Origin, Replay, earlier_messages, next_origin, read_replay
from .run_slots import RunSlots
from .team import Team
from .writer import RunWriter

MANY_RUNS: Final = 33
"""Active runs at which deltas are gathered for twice as long."""


def next_sender(session: Session) -> Sender | None:
    """The sender of the next run, if this node knows more of them than the log."""
    outline, senders = session.outline, session.senders
    if senders is None:
        return None
    if answers := outline.next_answers():
        answer = list(answers.values())[-1]
        return senders.of(answer.interrupt_id, answer)
    for id, accepted in outline.queue.items():
        return senders.of(id, accepted)
    return None


def next_context(
    session: Session,
    sender: Sender | None,
    replay: Replay | None = None,
    *,
    files: Files | None = None,
) -> RunContext:
    """The context of the next run: it answers the open questions, else the first queued message.

    With ``replay`` it is that of an agent that is called again for its first message.
    """
    outline = session.outline
    answers = tuple(outline.next_answers().values()) if outline.answers else ()
    accepted = _continuation(answers) if answers else next(iter(outline.queue.values()))
    message, identity, base = accepted.message, _identity(accepted, sender), session.head.seq
    # Questions are answered to the agent that asked them, whichever the session has by now.
    asker = _asker(outline) if answers else None
    earlier = None
    if replay is not None:
        earlier = Earlier(partial(earlier_messages, session, replay))
        by, base = replay.origin.by, replay.origin.seq - 1
        message, identity, answers = replay.message, None if by is None else Identity(by), ()

    async def history(limit: int | None) -> list[m.Message]:
        if limit is None:
            before = await session.messages(through=base)
        else:
            page = await session.page_before(base + 1, messages=limit)
            before = page.messages
        return [*before, message]

    context = RunContext(
        message=message,
        session=session.info,
        run_id=new_id("run"),
        agent=accepted.agent or asker or session.info.agent,
        identity=identity,
        history=history,
        answers=answers,
        earlier=earlier,
        files=files,
    )
    if replay is not None:
        context.handed_over = replay.handed_over
        context.attempt, context.idempotency_key = replay.attempt, replay.first
    elif accepted.attempt is not None:
        attempt = accepted.attempt
        context.attempt, context.idempotency_key = attempt.number, attempt.first
    return context


def _asker(outline: Outline) -> str | None:
    """The agent that goes on with the answers of the next run, if there are any."""
    return next((outline.asker(id) for id in outline.next_answers()), None)


def _identity(accepted: e.MessageAccepted, sender: Sender | None) -> Identity | None:
    if sender is not None:
        return sender.identity
    return None if accepted.by is None else Identity(accepted.by)


def run_started(session: Session, context: RunContext, *, agent: str | None = None) -> e.RunStarted:
    """The first event of the next run, with the message or the answers that it continues with.

    It names ``agent``, if that is not the only one, and the attempt, if it is not the first.
    """
    id, run, outline = session.id, context.run_id, session.outline
    if resuming := outline.next_answers():
        parent = outline.asked.get(next(iter(resuming)))
        started = started_by_answers(id, run, resuming.values(), parent=parent)
    else:
        started = started_by_message(id, run, context.message)
    attempt = None if context.attempt == 1 else next_attempt(outline)
    if agent is None and attempt is None:
        return started
    told: dict[str, Any] = {} if agent is None else {"agent": agent}
    if attempt is not None:
        told["attempt"] = msgspec.to_builtins(attempt)
    return msgspec.structs.replace(started, metadata={"agentws": told})


def started_by_message(session: str, run: str, message: m.UserMessage) -> e.RunStarted:
    """The first event of a run that answers ``message``."""
    return _started(session, run, m.RunAgentInput(session, run, [message]))


def started_by_answers(
    session: str, run: str, answers: Iterable[e.InterruptAnswered], *, parent: str | None
) -> e.RunStarted:
    """The first event of a run that resumes ``parent`` with all these ``answers``."""
    resume = [_resume_entry(answer) for answer in answers]
    given = m.RunAgentInput(session, run, [], resume=resume)
    return _started(session, run, given, parent=parent)


def _started(
    session: str, run: str, given: m.RunAgentInput, *, parent: str | None = None
) -> e.RunStarted:
    return e.RunStarted(session, run, e.AGUI_VERSION, parent, given, timestamp=now_ms())


def _continuation(answers: Sequence[e.InterruptAnswered]) -> e.MessageAccepted:
    """The message of a run that resumes after questions: empty, since the user sent none."""
    empty = m.UserMessage(new_id("msg"), "")
    return e.MessageAccepted(empty, "queue", None, answers[-1].by)


def _resume_entry(answer: e.InterruptAnswered) -> m.ResumeEntry:
    return m.ResumeEntry(answer.interrupt_id, answer.status, answer.payload)


class RunMaker:
    """Makes the runs of one node."""

    def __init__(
        self,
        *,
        tasks: Tasks,
        agents: Agents,
        limits: Limits,
        files: Files | None,
        slots: RunSlots,
    ) -> None:
        self._agents = agents
        self._tasks = tasks
        self._limits = limits
        self._files = files
        self._slots = slots

    def writer(
        self,
        session: Session,
        run: str,
        fence: str,
        variables: Context,
        loop: asyncio.AbstractEventLoop,
    ) -> RunWriter:
        return RunWriter(
            session,
            run=run,
            fence=fence,
            tasks=self._tasks,
            context=variables,
            loop=loop,
            pace=self._pace,
            max_size=self._limits.max_run_size,
            max_event_size=self._limits.max_event_size,
        )

    def _pace(self) -> float:
        """Seconds for which a run's deltas are gathered: longer with more active runs."""
        limits = self._limits
        return min(limits.gather * (1 + self._slots.taken / MANY_RUNS), limits.max_gather)

    async def begin(
        self, session: Session, *, fence: str, loop: asyncio.AbstractEventLoop
    ) -> AskingRun | None:
        """Begins the next run; ``None`` when the log has changed and is to be read again."""
        outline = session.outline
        first = next_origin(outline) if outline.answers else None
        attempt = next_attempt(outline) if first is None else None
        replay = before = None
        if first is not None:
            replay = await read_replay(session, first)
            if next_origin(outline) != first:
                return None
        elif attempt is not None:
            before = await read_recorded(session, attempt)
            if next_attempt(outline) != attempt:
                return None
        sender = next_sender(session)
        context = next_context(session, sender, replay, files=self._files)
        variables = (sender and sender.context) or Context()
        writer = self.writer(session, context.run_id, fence, variables, loop)
        team = Team(self._agents, self._limits)
        run: AskingRun
        if replay is not None:
            origin = replay.origin.told()
            recorded = replay.recorded
            run = ReplayedRun(context, writer, variables, team, origin=origin, recorded=recorded)
        elif attempt is not None and before is not None:
            by = None if context.identity is None else context.identity.id
            origin = Origin(attempt.start, by).told()
            run = AskingRun(context, writer, variables, team, origin=origin, recorded=before)
        else:
            run = AskingRun(context, writer, variables, team)
        begun = self.start_held(session, run) or await self.start(session, run)
        return run if begun else None

    def start_held(self, session: Session, run: AskingRun) -> bool:
        """:meth:`start` where nothing has to wait (an exclusive store); else false.

        The first event is then appended with the agent's first output.
        """
        if not session.appends_alone():
            return False
        started = run_started(session, run.context, agent=run.sequence.speaker)
        run.writer.hold_start(started, expect=session.head.seq)
        return True

    async def start(self, session: Session, run: AskingRun) -> bool:
        """Appends the first event of ``run``; false when the log has changed."""
        started = run_started(session, run.context, agent=run.sequence.speaker)
        try:
            await run.writer.begin(started, expect=session.head.seq)
        except VersionConflict:
            # Its message may be withdrawn by now, or another one may come first.
            await session.catch_up()
            return False
        return True
