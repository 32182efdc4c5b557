"""The beginning of a run: the context for its agent, and its RUN_STARTED."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..agents.agent import RunContext
from ..auth import Identity
from ..protocol import events as e
from ..protocol import messages as m
from ..sessions.senders import Sender
from ..sessions.session import Session
from .ids import new_id, now_ms


def next_sender(session: Session) -> Sender | None:
    """The sender of the next run, if this node knows more of them than the log."""
    outline, senders = session.outline, session.senders
    if senders is None:
        return None
    if outline.resumable:
        answer = list(outline.answers.values())[-1]
        return senders.of(answer.interrupt_id, answer)
    for id, accepted in outline.queue.items():
        return senders.of(id, accepted)
    return None


def next_context(session: Session, sender: Sender | None) -> RunContext:
    """The context of the next run: it answers the open questions, else the first queued message."""
    outline = session.outline
    answers = tuple(outline.answers.values()) if outline.resumable else ()
    accepted = _continuation(answers) if answers else next(iter(outline.queue.values()))
    by = None if accepted.by is None else Identity(accepted.by)
    base, message = session.head, accepted.message

    async def history(limit: int | None) -> list[m.Message]:
        if limit is None:
            before = await session.messages(through=base.seq)
        else:
            page = await session.page_before(base.seq + 1, messages=limit)
            before = page.messages
        return [*before, message]

    return RunContext(
        message=message,
        session=session.info,
        run_id=new_id("run"),
        agent=accepted.agent or session.info.agent,
        identity=by if sender is None else sender.identity,
        history=history,
        answers=answers,
    )


def run_started(context: RunContext) -> e.RunStarted:
    """The first event of the run, with the message or the answers that it continues with."""
    session, run = context.session.id, context.run_id
    if context.answers:
        return started_by_answers(session, run, context.answers)
    return started_by_message(session, run, context.message)


def started_by_message(session: str, run: str, message: m.UserMessage) -> e.RunStarted:
    """The first event of a run that answers ``message``."""
    return _started(session, run, m.RunAgentInput(session, run, [message]))


def started_by_answers(
    session: str, run: str, answers: Iterable[e.InterruptAnswered]
) -> e.RunStarted:
    """The first event of a run that resumes with all these ``answers``."""
    resume = [_resume_entry(answer) for answer in answers]
    return _started(session, run, m.RunAgentInput(session, run, [], resume=resume))


def _started(session: str, run: str, given: m.RunAgentInput) -> e.RunStarted:
    return e.RunStarted(session, run, e.AGUI_VERSION, None, given, timestamp=now_ms())


def _continuation(answers: Sequence[e.InterruptAnswered]) -> e.MessageAccepted:
    """The message of a run that resumes after questions: empty, since the user sent none."""
    empty = m.UserMessage(new_id("msg"), "")
    return e.MessageAccepted(empty, "queue", None, answers[-1].by)


def _resume_entry(answer: e.InterruptAnswered) -> m.ResumeEntry:
    return m.ResumeEntry(answer.interrupt_id, answer.status, answer.payload)
