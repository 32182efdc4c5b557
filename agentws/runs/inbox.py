"""What clients ask of a session, as events of its log.

Every request is decided against the log that it is appended to; nothing else happens here.
Whoever holds the lease reads it from the log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from typing import Final

import msgspec

from ..agents.commands import unescape
from ..auth import Identity
from ..errors import (
    AgentwsError,
    AlreadyAnswered,
    BadRequest,
    NotFound,
    NotSupported,
    QueueFull,
    RunActive,
    TooMany,
    Unavailable,
)
from ..limits import Limits
from ..protocol import events as e
from ..protocol import frames as f
from ..protocol import messages as m
from ..protocol.codec import check_sizes, entry
from ..protocol.outline import Outline
from ..sessions.senders import Sender, Senders, sender_now
from ..sessions.session import Session
from ..store import Appended, Key
from .beginning import run_asked, run_resumed
from .deciding import Command, Decision, decide
from .engine import Runs
from .leased import new_id, now_ms

_encoder: Final = msgspec.json.Encoder(order="deterministic")


class Inbox:
    """Takes what the clients of one node ask."""

    def __init__(self, *, runs: Runs, limits: Limits) -> None:
        self._runs = runs
        self._limits = limits
        # What was let in and is not in the log yet: the next one must find room beside it.
        self._entering_of: dict[str, int] = {}

    def _decide(self, session: Session, command: Command) -> Awaitable[Appended | None]:
        self._runs.write_start(session)
        return decide(session, command)

    async def send(
        self, session: Session, frame: f.Send, *, agent: str | None, identity: Identity | None
    ) -> Appended:
        """Accepts a user message, once for its id.

        Raises IdempotencyConflict, QueueFull, RunActive (overlap ``reject``), TooMany,
        VersionConflict, EventTooLarge and NotSupported.
        """
        by = None if identity is None else identity.id
        key = sending(frame, by=by)
        event = _accepting(frame, agent, by=by)
        sender = sender_now(event, identity)
        # A run says its message again, with a little more beside it.
        begun = run_asked(session.id, new_id("run"), event.message)
        check_sizes([entry(begun, run=begun.run_id)], session.max_event_size)

        def command() -> Decision:
            self._check_room(session, frame)
            return Decision(event, key=key)

        try:
            self._enter(session.info.owner)
            if sender is None:
                done = await self._decide(session, command)
            else:
                done = await self._append_for(sender, frame.id, session, command)
        except (QueueFull, RunActive, TooMany):
            # A resend of what was accepted before must not be refused for being late.
            known = await session.find(key)
            if known is None:
                raise
            return known
        finally:
            self._leave(session.info.owner)
        assert done is not None
        return done

    async def _append_for(
        self, sender: Sender, id: str, session: Session, command: Command
    ) -> Appended | None:
        """Decides a command that a run answers; remembers who gave it if it was appended."""
        if session.senders is None:
            session.senders = Senders()
        senders = session.senders
        senders.add(id, sender)
        try:
            done = await self._decide(session, command)
        except BaseException as error:
            if isinstance(error, AgentwsError) and not isinstance(error, Unavailable):
                senders.discard(id, sender)
            else:
                # Failed or cancelled, it may be in the log all the same.
                senders.keep_unconfirmed(id, sender)
            raise
        if done is None or done.duplicate:
            senders.discard(id, sender)
        return done

    def _enter(self, owner: str | None) -> None:
        if owner is not None:
            self._entering_of[owner] = self._entering_of.get(owner, 0) + 1

    def _leave(self, owner: str | None) -> None:
        if owner is not None:
            self._entering_of[owner] -= 1
            if not self._entering_of[owner]:
                del self._entering_of[owner]

    def _check_room(self, session: Session, frame: f.Send) -> None:
        outline = session.outline
        if frame.overlap == "reject" and not outline.settled:
            raise RunActive(retry_after=1.0)
        if len(outline.queue) >= self._limits.max_queued:
            raise QueueFull(retry_after=1.0)
        owner = session.info.owner
        if owner is not None and outline.settled:
            # The message itself is among those that are entering.
            going_on = self._runs.running_of(owner) + self._entering_of.get(owner, 0) - 1
            if going_on >= self._limits.max_runs_per_identity:
                raise TooMany("Too many answers are being written for you.", retry_after=1.0)

    async def cancel(
        self, session: Session, frame: f.Cancel, *, by: str | None = None
    ) -> Appended | None:
        """Asks a run to stop, or takes its message back before it began.

        ``None`` when there is nothing to stop: a stop that comes late, or twice, changes nothing.
        """
        # Before it waits for its turn: what goes on may end meanwhile.
        named = _named(session.outline, frame)

        def command() -> Decision | None:
            nonlocal named
            named = _named(session.outline, named)
            return _cancelling(session.outline, named, by)

        return await self._decide(session, command)

    async def withdraw(self, session: Session, frame: f.Withdraw) -> Appended:
        """Takes a queued message back; raises NotFound when it is not waiting any more."""

        def command() -> Decision:
            if frame.message not in session.outline.queue:
                raise NotFound(
                    "This message is not waiting.", expected="the id of a queued message"
                )
            return _withdrawing(frame.message, "withdrawn")

        done = await self._decide(session, command)
        assert done is not None
        return done

    async def answer(
        self, session: Session, frame: f.Answer, *, identity: Identity | None
    ) -> Appended:
        """Answers an open question; the first answer wins.

        The same answer again is a duplicate; another one raises AlreadyAnswered. Raises NotFound
        for a question that was never asked, or whose history was cleared, and EventTooLarge.
        """
        by = None if identity is None else identity.id
        event = e.InterruptAnswered(
            frame.interrupt, frame.status, frame.payload, by, timestamp=now_ms()
        )

        def key() -> Key:
            # By the run too: an agent may ask the same again.
            asked = session.outline.asked.get(frame.interrupt)
            return Key(f"answer:{asked}:{frame.interrupt}", digest(frame, by=by))

        def command() -> Decision | None:
            if frame.interrupt not in session.outline.interrupts:
                return None
            # One event says all answers to the run that goes on with them.
            answers = [*session.outline.answers.values(), event]
            resumed = run_resumed(session.id, new_id("run"), answers)
            check_sizes([entry(resumed, run=resumed.run_id)], session.max_event_size)
            return Decision(event, key=key(), conflict=AlreadyAnswered)

        sender = sender_now(event, identity)
        if sender is None:
            done = await self._decide(session, command)
        else:
            done = await self._append_for(sender, frame.interrupt, session, command)
        done = done or await session.find(key(), conflict=AlreadyAnswered)
        if done is None:
            raise NotFound("There is no such open question.")
        return done

    async def clear(self, session: Session, *, key: Key | None = None) -> Appended:
        """Forgets the conversation. Raises RunActive while an answer is being written."""

        def command() -> Decision:
            if session.outline.run is not None or session.outline.queue:
                raise RunActive("Stop the answer first, then clear.", retry_after=1.0)
            return Decision(e.HistoryCleared(timestamp=now_ms()), key=key)

        done = await self._decide(session, command)
        assert done is not None
        return done


def _named(outline: Outline, frame: f.Cancel) -> f.Cancel:
    """A stop of whatever goes on, as a stop of what that is now.

    Decided again after that has ended, it must not hit what goes on by then.
    """
    if frame.run is not None or frame.message is not None:
        return frame
    if outline.run is not None:
        return msgspec.structs.replace(frame, run=outline.run)
    return msgspec.structs.replace(frame, message=next(iter(outline.queue), None))


def _cancelling(outline: Outline, frame: f.Cancel, by: str | None) -> Decision | None:
    """What a stop appends as things stand; ``None`` when there is nothing to stop."""
    if frame.message is not None and frame.message in outline.queue:
        return _withdrawing(frame.message, "cancelled")
    target = frame.run or frame.message
    hit = target is not None and target in (outline.run, outline.message)
    if outline.run is None or outline.cancelling or not hit:
        return None
    return Decision(e.RunCancelling(by, timestamp=now_ms()), run=outline.run)


def _withdrawing(message: str, reason: str) -> Decision:
    return Decision(e.MessageWithdrawn(message, reason, timestamp=now_ms()))


def _accepting(frame: f.Send, agent: str | None, *, by: str | None) -> e.MessageAccepted:
    overlap = frame.overlap or "queue"
    if overlap == "steer":
        raise NotSupported("Steering is not offered.", expected="queue, interrupt or reject")
    content = unescape(frame.content) if isinstance(frame.content, str) else frame.content
    metadata = dict(frame.metadata or {})
    if frame.attachments:
        metadata["attachments"] = frame.attachments
    message = m.UserMessage(frame.id, content, metadata=metadata or None)
    return e.MessageAccepted(message, overlap, agent, by, timestamp=now_ms())


def sending(frame: f.Send, *, by: str | None) -> Key:
    """Under what the message, or the command, of this frame is taken once. It is its sender's."""
    return Key(f"send:{frame.id}", digest(frame, by=by))


def digest(frame: f.Send | f.Answer, *, by: str | None) -> str:
    """Names the body of a frame and its sender: the same id must come with the same ones."""
    body = _encoder.encode(msgspec.structs.replace(frame, id=""))
    if by is not None:
        body = b"%b %b" % (_encoder.encode(by), body)
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()


def check_content(content: m.Content) -> None:
    """Raises BadRequest for a message that says nothing."""
    if isinstance(content, str):
        empty = not content.strip()
    else:
        empty = not content
    if empty:
        raise BadRequest("This message is empty.", expected="some text")
