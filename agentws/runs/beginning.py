"""How a run begins: what its agent is given, and what the log says of it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

from ..agents.agent import RunContext
from ..auth import Identity
from ..protocol import events as e
from ..protocol import messages as m
from ..sessions.senders import Sender
from ..sessions.session import Session
from .leased import new_id, now_ms


def next_sender(session: Session) -> Sender | None:
    """Who asked for the next run, if more is known of them here than the log says."""
    outline, senders = session.outline, session.senders
    if senders is None:
        return None
    if outline.resumable:
        answer = list(outline.answers.values())[-1]
        return senders.of(answer.interrupt_id, answer)
    for id, accepted in outline.queue.items():
        return senders.of(id, accepted)
    return None


def next_context(session: Session) -> RunContext:
    """What the run is given that answers what comes first; there must be something."""
    outline, sender = session.outline, next_sender(session)
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
        # The agent's own: what it changes in it is not yet what the session shares.
        state=None if outline.state is None else copy.deepcopy(outline.state),
        answers=answers,
    )


def run_started(context: RunContext) -> e.RunStarted:
    """The first event of a run, which carries what it answers."""
    session, run = context.session.id, context.run_id
    if context.answers:
        return run_resumed(session, run, context.answers)
    return run_asked(session, run, context.message)


def run_asked(session: str, run: str, message: m.UserMessage) -> e.RunStarted:
    """The first event of a run that answers ``message``."""
    return _started(session, run, m.RunAgentInput(session, run, [message]))


def run_resumed(session: str, run: str, answers: Iterable[e.InterruptAnswered]) -> e.RunStarted:
    """The first event of a run that goes on with ``answers``, all of them."""
    resume = [_resumed(answer) for answer in answers]
    return _started(session, run, m.RunAgentInput(session, run, [], resume=resume))


def _started(session: str, run: str, given: m.RunAgentInput) -> e.RunStarted:
    return e.RunStarted(session, run, e.AGUI_VERSION, None, given, timestamp=now_ms())


def _continuation(answers: Sequence[e.InterruptAnswered]) -> e.MessageAccepted:
    """What a run answers that goes on after questions: nothing new was said."""
    said = m.UserMessage(new_id("msg"), "")
    return e.MessageAccepted(said, "queue", None, answers[-1].by)


def _resumed(answer: e.InterruptAnswered) -> m.ResumeEntry:
    return m.ResumeEntry(answer.interrupt_id, answer.status, answer.payload)
