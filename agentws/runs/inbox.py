"""What clients ask of a session, as events of its log.

Every request is decided against the session's outline and appended; nothing else happens here.
Whoever holds the lease reads it from the log.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from ..agents.commands import unescape
from ..errors import (
    AlreadyAnswered,
    BadRequest,
    NotFound,
    NotSupported,
    QueueFull,
    RunActive,
    TooMany,
)
from ..identity import Identity
from ..limits import Limits
from ..protocol import events as e
from ..protocol import frames as f
from ..protocol import messages as m
from ..protocol.codec import check_sizes, entry
from ..protocol.events import Event
from ..session import Session
from ..store import Appended, Key
from .beginning import run_resumed
from .engine import Runs
from .work import new_id, now_ms

_encoder: Final = msgspec.json.Encoder(order="deterministic")


class Inbox:
    """Takes what the clients of one node ask."""

    def __init__(self, *, runs: Runs, limits: Limits) -> None:
        self._runs = runs
        self._limits = limits
        # What was let in and is not in the log yet: the next one must find room beside it.
        self._entering: dict[str, int] = {}
        self._entering_of: dict[str, int] = {}

    async def send(
        self, session: Session, frame: f.Send, *, agent: str | None, identity: Identity | None
    ) -> Appended:
        """Accepts a user message, once for its id.

        Raises IdempotencyConflict, QueueFull, RunActive (overlap ``reject``), TooMany,
        EventTooLarge and NotSupported.
        """
        key = sending(frame)
        event = _accepting(frame, agent, by=None if identity is None else identity.id)
        try:
            self._check_room(session, frame)
        except (QueueFull, RunActive, TooMany):
            # A resend of what was accepted before must not be refused for being late.
            known = await session.find(key)
            if known is not None:
                return known
            raise
        if identity is not None and identity.claims:
            session.senders = {**(session.senders or {}), frame.id: identity}
        id, owner = session.id, session.info.owner
        self._entering[id] = self._entering.get(id, 0) + 1
        if owner is not None:
            self._entering_of[owner] = self._entering_of.get(owner, 0) + 1
        try:
            return await session.append_entries([entry(event)], key=key)
        finally:
            _less(self._entering, id)
            if owner is not None:
                _less(self._entering_of, owner)

    def _check_room(self, session: Session, frame: f.Send) -> None:
        outline, entering = session.outline, self._entering.get(session.id, 0)
        if frame.overlap == "reject" and (entering or not outline.settled):
            raise RunActive(retry_after=1.0)
        if len(outline.queue) + entering >= self._limits.max_queued:
            raise QueueFull(retry_after=1.0)
        owner = session.info.owner
        if owner is not None and outline.settled:
            going_on = self._runs.running_of(owner) + self._entering_of.get(owner, 0)
            if going_on >= self._limits.max_runs_per_identity:
                raise TooMany("Too many answers are being written for you.", retry_after=1.0)

    async def cancel(
        self, session: Session, frame: f.Cancel, *, by: str | None = None
    ) -> Appended | None:
        """Asks a run to stop, or takes its message back before it began.

        ``None`` when there is nothing to stop: a stop that comes late, or twice, changes nothing.
        """
        outline = session.outline
        target = frame.run or frame.message
        if frame.message in outline.queue and frame.message is not None:
            return await self._withdraw(session, frame.message, "cancelled")
        if target is None and outline.run is None and outline.queue:
            return await self._withdraw(session, next(iter(outline.queue)), "cancelled")
        hit = target is None or target in (outline.run, outline.message)
        if outline.run is None or outline.cancelling or not hit:
            return None
        return await session.append([e.RunCancelling(by, timestamp=now_ms())], run=outline.run)

    async def withdraw(self, session: Session, frame: f.Withdraw) -> Appended:
        """Takes a queued message back; raises NotFound when it is not waiting any more."""
        if frame.message not in session.outline.queue:
            raise NotFound("This message is not waiting.", expected="the id of a queued message")
        return await self._withdraw(session, frame.message, "withdrawn")

    async def _withdraw(self, session: Session, message: str, reason: str) -> Appended:
        event = e.MessageWithdrawn(message, reason, timestamp=now_ms())
        return await session.append([event])

    async def answer(self, session: Session, frame: f.Answer, *, by: str | None = None) -> Appended:
        """Answers an open question; the first answer wins.

        The same answer again is a duplicate; another one raises AlreadyAnswered. Raises NotFound
        for a question that was never asked, or whose history was cleared, and EventTooLarge.
        """
        outline = session.outline
        # By the run too: an agent may ask the same again.
        asked = outline.asked.get(frame.interrupt)
        key = Key(f"answer:{asked}:{frame.interrupt}", digest(frame))
        if frame.interrupt not in outline.interrupts:
            known = await session.find(key, conflict=AlreadyAnswered)
            if known is not None:
                return known
            raise NotFound("There is no such open question.")
        answered = e.InterruptAnswered(
            frame.interrupt, frame.status, frame.payload, by, timestamp=now_ms()
        )
        # One event says all answers to the run that goes on with them.
        resumed = run_resumed(session.id, new_id("run"), [*outline.answers.values(), answered])
        check_sizes([entry(resumed, run=resumed.run_id)], session.max_event_size)
        return await session.append([answered], key=key, conflict=AlreadyAnswered)

    async def clear(self, session: Session, *, key: Key | None = None) -> Appended:
        """Forgets the conversation. Raises RunActive while an answer is being written."""
        if session.outline.run is not None or session.outline.queue:
            raise RunActive("Stop the answer first, then clear.", retry_after=1.0)
        return await session.append([e.HistoryCleared(timestamp=now_ms())], key=key)


def _accepting(frame: f.Send, agent: str | None, *, by: str | None) -> Event:
    overlap = frame.overlap or "queue"
    if overlap == "steer":
        raise NotSupported("Steering is not offered.", expected="queue, interrupt or reject")
    content = unescape(frame.content) if isinstance(frame.content, str) else frame.content
    metadata = dict(frame.metadata or {})
    if frame.attachments:
        metadata["attachments"] = frame.attachments
    message = m.UserMessage(frame.id, content, metadata=metadata or None)
    return e.MessageAccepted(message, overlap, agent, by, timestamp=now_ms())


def _less(counts: dict[str, int], name: str) -> None:
    """One fewer; what is counted no more is forgotten."""
    if counts[name] > 1:
        counts[name] -= 1
    else:
        del counts[name]


def sending(frame: f.Send) -> Key:
    """Under what the message, or the command, of this frame is taken once."""
    return Key(f"send:{frame.id}", digest(frame))


def digest(frame: f.Send | f.Answer) -> str:
    """Names the body of a frame: the same id must come with the same one."""
    body = msgspec.structs.replace(frame, id="")
    return hashlib.sha1(_encoder.encode(body), usedforsecurity=False).hexdigest()


def check_content(content: m.Content) -> None:
    """Raises BadRequest for a message that says nothing."""
    if isinstance(content, str):
        empty = not content.strip()
    else:
        empty = not content
    if empty:
        raise BadRequest("This message is empty.", expected="some text")
