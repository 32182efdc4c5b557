"""The command handler: what clients ask of a session becomes events of its log.

Every request is decided against the log that it is appended to, and nothing else happens here. The
node that holds the session's lease reads it from the log. Idempotency keys are made here
(:func:`send_key`, and :meth:`Inbox.answer`) and checked by the store, within its ``append``: a
request that is sent again is a duplicate (deduplication).
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec

from ..auth import Identity
from ..errors import (
    AgentwsError,
    AlreadyAnswered,
    BadRequest,
    Expired,
    NotFound,
    QueueFull,
    RunActive,
    TooMany,
    Unavailable,
)
from ..limits import Limits
from ..protocol import events as e
from ..protocol import frames as f
from ..protocol import messages as m
from ..protocol.codec import Entry, check_sizes, entry
from ..protocol.outline import Outline
from ..sessions.senders import Sender, Senders, sender_now
from ..sessions.session import Session
from ..store import Appended, Key
from .answering import EXPIRY_DIGEST, answer_key, answer_of, check_answer
from .beginning import started_by_answers
from .branches import branch_before
from .deciding import Command, Decision, decide
from .engine import Runs
from .ids import new_id, now_ms
from .queueing import RUN_STARTED, check_answerable, edit, not_queued, promote, user_message
from .steering import not_steered

_encoder: Final = msgspec.json.Encoder(order="deterministic")


class Inbox:
    """Decides the requests of one node's clients, and appends the result."""

    def __init__(self, *, runs: Runs, limits: Limits) -> None:
        self._runs = runs
        self._limits = limits
        # Messages by owner that are accepted and not in the log yet: they count for the limit.
        self._pending_of: dict[str, int] = {}

    def decide(self, session: Session, command: Command) -> Awaitable[Appended | None]:
        """Appends what ``command`` decides; see :func:`agentws.runs.deciding.decide`."""
        self.write_start(session)
        return decide(session, command)

    def write_start(self, session: Session) -> None:
        """Appends the beginning of a run that is held back, if there is one: it may change what is
        decided."""
        self._runs.write_start(session)

    def send(
        self, session: Session, frame: f.Send, *, agent: str | None, identity: Identity | None
    ) -> Awaitable[Appended]:
        """Accepts a user message, once for its id: the id is its idempotency key.

        Raises IdempotencyConflict, QueueFull, RunActive (overlap ``reject``), TooMany,
        VersionConflict and EventTooLarge.
        """
        by = None if identity is None else identity.id
        key = send_key(frame, by=by)
        event = accepted_event(frame, agent, by=by)

        def command(accepted: Entry) -> Decision:
            self.check_room(session, frame.overlap)
            missed = _not_steering(session.outline, event)
            more = () if missed is None else (not_steered(frame.id, missed),)
            return Decision(accepted, key=key, more=more)

        return self.accept(session, event, command, key=key, identity=identity)

    async def accept(
        self,
        session: Session,
        event: e.MessageAccepted,
        command: Callable[[Entry], Decision],
        *,
        key: Key | None,
        identity: Identity | None,
    ) -> Appended:
        """Appends ``event``, as ``command`` decides for its entry.

        Raises what ``command`` raises, but not for a request under a ``key`` that was carried out
        before: that is a duplicate.
        """
        accepted = entry(event)
        if len(accepted.data) + RUN_STARTED > session.max_event_size:
            check_answerable(session, event)
        sender = sender_now(event, identity)
        decided = partial(command, accepted)
        try:
            self._count_pending(session.info.owner)
            if sender is None:
                done = await self.decide(session, decided)
            else:
                done = await self._append_for(sender, event.message.id, session, decided)
        except (NotFound, QueueFull, RunActive, TooMany):
            known = None if key is None else await session.find(key)
            if known is None:
                raise
            return known
        finally:
            self._uncount_pending(session.info.owner)
        assert done is not None
        return done

    async def _append_for(
        self, sender: Sender, id: str, session: Session, command: Command
    ) -> Appended | None:
        """Decides a command that a run will answer; keeps its sender if it was appended."""
        if session.senders is None:
            session.senders = Senders()
        senders = session.senders
        senders.add(id, sender)
        try:
            done = await self.decide(session, command)
        except BaseException as error:
            if isinstance(error, AgentwsError) and not isinstance(error, Unavailable):
                senders.discard(id, sender)
            else:
                # The append failed or was cancelled, but may be in the log.
                senders.keep_unconfirmed(id, sender)
            raise
        if done is None or done.duplicate:
            senders.discard(id, sender)
        return done

    def _count_pending(self, owner: str | None) -> None:
        if owner is not None:
            self._pending_of[owner] = self._pending_of.get(owner, 0) + 1

    def _uncount_pending(self, owner: str | None) -> None:
        if owner is not None:
            self._pending_of[owner] -= 1
            if not self._pending_of[owner]:
                del self._pending_of[owner]

    def check_room(self, session: Session, overlap: e.Overlap | None) -> None:
        """Raises RunActive, QueueFull or TooMany for a message that is not accepted now."""
        outline = session.outline
        if overlap == "reject" and not outline.settled:
            raise RunActive(retry_after=1.0)
        if len(outline.queue) >= self._limits.max_queued:
            raise QueueFull(retry_after=1.0)
        owner = session.info.owner
        if owner is not None and outline.settled:
            # This message is itself one of the pending ones.
            active = self._runs.running_of(owner) + self._pending_of.get(owner, 0) - 1
            if active >= self._limits.max_runs_per_identity:
                raise TooMany("Too many answers are being written for you.", retry_after=1.0)

    async def cancel(
        self, session: Session, frame: f.Cancel, *, by: str | None = None
    ) -> Appended | None:
        """Cancels a run, or withdraws its message before the run begins.

        ``None`` when there is nothing to cancel: a cancel that comes late, or twice, has no effect.
        """
        # Before this command waits for its turn: the active run may end meanwhile.
        stop = _with_target(session.outline, frame)

        def command() -> Decision | None:
            nonlocal stop
            stop = _with_target(session.outline, stop)
            return _cancel_decision(session.outline, stop, by)

        return await self.decide(session, command)

    async def withdraw(self, session: Session, frame: f.Withdraw) -> Appended:
        """Withdraws a queued message; raises NotFound when it is not in the queue any more."""

        def command() -> Decision:
            if frame.message not in session.outline.queue:
                raise not_queued()
            return _withdraw_decision(session.outline, frame.message, "withdrawn")

        done = await self.decide(session, command)
        assert done is not None
        return done

    async def edit_queued(
        self, session: Session, frame: f.EditQueued, *, by: str | None = None
    ) -> Appended | None:
        """Replaces a queued message in its place; ``None`` if that changes nothing.

        Raises NotFound when a run has begun with it, Forbidden when ``by`` has not sent it, and
        EventTooLarge.
        """
        return await self.decide(session, lambda: edit(session, frame, by=by))

    async def promote(
        self, session: Session, frame: f.Promote, *, by: str | None = None
    ) -> Appended | None:
        """Moves a queued message to the front; ``None`` if it is there.

        Raises NotFound when a run has begun with it.
        """
        return await self.decide(session, lambda: promote(session, frame, by=by))

    async def answer(
        self, session: Session, frame: f.Answer, *, identity: Identity | None
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
            self._check_resumption(session, event)
            key = answer_key(session, frame.interrupt, digest)
            return Decision(entry(event), key=key, conflict=AlreadyAnswered)

        sender = sender_now(event, identity)
        try:
            if sender is None:
                done = await self.decide(session, command)
            else:
                done = await self._append_for(sender, frame.interrupt, session, command)
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

    def _check_resumption(self, session: Session, event: e.InterruptAnswered) -> None:
        """Raises EventTooLarge: one RUN_STARTED holds all answers of the run that resumes."""
        outline = session.outline
        run = outline.asked.get(event.interrupt_id)
        answers = [
            one for one in outline.answers.values() if outline.asked.get(one.interrupt_id) == run
        ]
        resumed = started_by_answers(session.id, new_id("run"), [*answers, event], parent=run)
        check_sizes([entry(resumed, run=resumed.run_id)], session.max_event_size)

    async def tool_result(
        self, session: Session, frame: f.ToolResult, *, identity: Identity | None
    ) -> Appended:
        """Takes the result of a client's tool, or its error; the first one wins.

        It is the :meth:`answer` to the question that asks for it. Raises what that raises, and
        BadRequest.
        """
        answer = answer_of(frame, session.outline)
        return await self.answer(session, answer, identity=identity)

    async def clear(self, session: Session, *, key: Key | None = None) -> Appended:
        """Clears the conversation. Raises RunActive while a run is active or a message queued."""

        def command() -> Decision:
            if session.outline.run is not None or session.outline.queue:
                raise RunActive("Stop the answer first, then clear.", retry_after=1.0)
            return Decision(entry(e.HistoryCleared(timestamp=now_ms())), key=key)

        done = await self.decide(session, command)
        assert done is not None
        return done


def _with_target(outline: Outline, frame: f.Cancel) -> f.Cancel:
    """A cancel of "whatever is active" with the id of what that is now.

    Decided again on a newer log, it must not cancel a run that began later.
    """
    if frame.run is not None or frame.message is not None:
        return frame
    if outline.run is not None:
        return msgspec.structs.replace(frame, run=outline.run)
    return msgspec.structs.replace(frame, message=next(iter(outline.queue), None))


def _cancel_decision(outline: Outline, frame: f.Cancel, by: str | None) -> Decision | None:
    """What a cancel appends; ``None`` when there is nothing to cancel."""
    if frame.message is not None and frame.message in outline.queue:
        return _withdraw_decision(outline, frame.message, "cancelled")
    target = frame.run or frame.message
    hit = target is not None and target in (outline.run, outline.message, *outline.delivered)
    if outline.run is None or outline.cancelling or not hit:
        return None
    return Decision(entry(e.RunCancelling(by, timestamp=now_ms()), run=outline.run))


def _not_steering(outline: Outline, event: e.MessageAccepted) -> str | None:
    """Why a message with overlap ``steer`` reaches no run; ``None`` if it may, or is another."""
    if event.overlap != "steer":
        return None
    if outline.run is None:
        return "no_run"
    if outline.cancelling:
        return "cancelled"
    # The agent acts for whoever asked for the run: nobody else may tell it what to do.
    return None if outline.by == event.by else "other_sender"


def _withdraw_decision(outline: Outline, message: str, reason: str) -> Decision:
    back = branch_before(outline, message)
    withdrawn = entry(e.MessageWithdrawn(message, reason, timestamp=now_ms()))
    return Decision(withdrawn, more=() if back is None else (entry(back),))


def accepted_event(frame: f.Send, agent: str | None, *, by: str | None) -> e.MessageAccepted:
    """The event that accepts this message."""
    message = user_message(frame.id, frame.content, frame.attachments, frame.metadata)
    return e.MessageAccepted(message, frame.overlap or "queue", agent, by, timestamp=now_ms())


def send_key(frame: f.Send, *, by: str | None) -> Key:
    """The idempotency key of a message or slash command: its id, and a digest with its sender."""
    return Key(f"send:{frame.id}", body_digest(frame, by=by))


def body_digest(frame: f.ClientFrame, *, by: str | None) -> str:
    """A digest of a frame's body and its sender: the same whenever the same id is sent again."""
    body = _encoder.encode(msgspec.structs.replace(frame, id=""))
    if by is not None:
        body = b"%b %b" % (_encoder.encode(by), body)
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()


def check_content(content: m.Content) -> None:
    """Raises BadRequest for a message without content."""
    if isinstance(content, str):
        empty = not content.strip()
    else:
        empty = not content
    if empty:
        raise BadRequest("This message is empty.", expected="some text")
