"""The commands that answer a question of an agent. The first answer wins, from whichever device."""

from __future__ import annotations

from ..auth import Identity
from ..errors import AlreadyAnswered, Expired, NotFound
from ..protocol import events as e
from ..protocol import frames as f
from ..protocol.codec import check_sizes, entry
from ..sessions.senders import sender_now
from ..sessions.session import Session
from ..store import Appended
from .answering import EXPIRY_DIGEST, answer_key, answer_of, check_answer
from .beginning import started_by_answers
from .deciding import Decision
from .ids import new_id, now_ms
from .inbox import Inbox, body_digest


async def answer(
    inbox: Inbox, session: Session, frame: f.Answer, *, identity: Identity | None
) -> Appended:
    """Answers an open question; the first answer wins.

    The same answer again is a duplicate; another one raises AlreadyAnswered. Raises NotFound
    for a question that was never asked, or whose history was cleared, Expired after its
    deadline, BadRequest for an answer that is none of its choices, and EventTooLarge.
    """
    by = None if identity is None else identity.id
    event = e.InterruptAnswered(
        frame.interrupt, frame.status, frame.payload, by, timestamp=now_ms()
    )
    digest = body_digest(frame, by=by)

    def command() -> Decision | None:
        outline = session.outline
        asked = outline.interrupts.get(frame.interrupt)
        if asked is None:
            return None
        check_answer(asked, frame)
        _check_resumption(session, event)
        key = answer_key(session, frame.interrupt, digest)
        return Decision(entry(event), key=key, conflict=AlreadyAnswered)

    sender = sender_now(event, identity)
    try:
        if sender is None:
            done = await inbox.decide(session, command)
        else:
            done = await inbox.append_for(sender, frame.interrupt, session, command)
        key = answer_key(session, frame.interrupt, digest)
        done = done or await session.find(key, conflict=AlreadyAnswered)
    except AlreadyAnswered:
        key = answer_key(session, frame.interrupt, EXPIRY_DIGEST)
        if await session.find(key, conflict=AlreadyAnswered):
            raise Expired() from None
        raise
    if done is None:
        raise NotFound("There is no such open question.")
    return done


async def tool_result(
    inbox: Inbox, session: Session, frame: f.ToolResult, *, identity: Identity | None
) -> Appended:
    """Takes the result of a client's tool, or its error; the first one wins.

    It is the :func:`answer` to the question that asks for it. Raises what that raises, and
    BadRequest.
    """
    said = answer_of(frame, session.outline)
    return await answer(inbox, session, said, identity=identity)


def _check_resumption(session: Session, event: e.InterruptAnswered) -> None:
    """Raises EventTooLarge: one RUN_STARTED holds all answers of the run that resumes."""
    outline = session.outline
    run = outline.asked.get(event.interrupt_id)
    answers = [
        one for one in outline.answers.values() if outline.asked.get(one.interrupt_id) == run
    ]
    resumed = started_by_answers(session.id, new_id("run"), [*answers, event], parent=run)
    check_sizes([entry(resumed, run=resumed.run_id)], session.max_event_size)
