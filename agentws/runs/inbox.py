"""The command handler: what clients ask of a session becomes events of its log.

Every request is decided against the log that it is appended to, and nothing else happens here. The
node that holds the session's lease reads it from the log. Idempotency keys are made here
(:func:`send_key`, :func:`state_key`, :meth:`Inbox.answer`) and checked by the store,
within its ``append``: a request that is sent again is a duplicate (deduplication).
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from ..agents.sharing import AcceptsState
from ..attachments.library import Files
from ..auth import Identity
from ..errors import (
    AgentError,
    AgentwsError,
    EventTooLarge,
    Forbidden,
    NotFound,
    QueueFull,
    RunActive,
    StateConflict,
    TooMany,
    Unavailable,
)
from ..limits import Limits
from ..protocol import events as e
from ..protocol import frames as f
from ..protocol.attachments import AttachedFile
from ..protocol.codec import Entry, entry
from ..protocol.outline import Outline
from ..sessions.senders import Sender, Senders, sender_now
from ..sessions.session import Session
from ..store import Appended, Key
from .attaching import attach_files, has_files
from .cancelling import cancel_decision, with_target, withdraw_decision
from .deciding import Command, Decision, decide
from .engine import Runs
from .ids import now_ms
from .queueing import RUN_STARTED, check_answerable, edit, not_queued, promote, user_message
from .state_changes import state_command
from .steering import not_steered

_encoder: Final = msgspec.json.Encoder(order="deterministic")


class Inbox:
    """Decides the requests of one node's clients, and appends the result."""

    def __init__(self, *, runs: Runs, limits: Limits, files: Files | None = None) -> None:
        self._runs = runs
        self._files = files
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
        VersionConflict, EventTooLarge, NotSupported, and NotFound for an attachment that is not the
        sender's.
        """
        by = None if identity is None else identity.id
        key = send_key(frame, by=by)
        if has_files(frame):
            return self._send_with_files(session, frame, agent=agent, identity=identity)
        event = accepted_event(frame, agent, by=by, files=())
        return self._send(session, frame, event, key=key, identity=identity)

    async def _send_with_files(
        self, session: Session, frame: f.Send, *, agent: str | None, identity: Identity | None
    ) -> Appended:
        by = None if identity is None else identity.id
        key = send_key(frame, by=by)
        check = partial(self.check_room, session, frame.overlap)
        files = await self.attach_files(session, frame, check, key=key, by=by)
        if isinstance(files, Appended):
            return files
        event = accepted_event(frame, agent, by=by, files=files)
        try:
            return await self._send(session, frame, event, key=key, identity=identity)
        except NotFound:
            # The session was deleted meanwhile: what was attached to it must not stay.
            await self._drop_files(session)
            raise

    def _send(
        self,
        session: Session,
        frame: f.Send,
        event: e.MessageAccepted,
        *,
        key: Key,
        identity: Identity | None,
    ) -> Awaitable[Appended]:

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
                done = await self.append_for(sender, event.message.id, session, decided)
        except (NotFound, QueueFull, RunActive, TooMany):
            known = None if key is None else await session.find(key)
            if known is None:
                raise
            return known
        finally:
            self._uncount_pending(session.info.owner)
        assert done is not None
        return done

    async def attach_files(
        self,
        session: Session,
        frame: f.Send,
        check: Callable[[], None],
        *,
        key: Key,
        by: str | None,
    ) -> Sequence[AttachedFile] | Appended:
        """The files of a message; or the duplicate, for one that was accepted before.

        ``check`` raises what the message would be refused with: then nothing is attached. A message
        may be sent again after its files were deleted.
        """
        try:
            self._count_pending(session.info.owner)
            try:
                await self.decide(session, check)
            finally:
                self._uncount_pending(session.info.owner)
            return await attach_files(self._files, frame, session=session.id, by=by)
        except AgentwsError:
            known = await session.find(key)
            if known is None:
                raise
            return known

    async def _drop_files(self, session: Session) -> None:
        """Deletes what was attached to a session after it was deleted."""
        if self._files is not None:
            await self._files.store.delete_session(session.id)

    async def append_for(
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
        if overlap == "reject" and not outline.is_settled():
            raise RunActive(retry_after=1.0)
        if len(outline.queue) >= self._limits.max_queued:
            raise QueueFull(retry_after=1.0)
        owner = session.info.owner
        if owner is not None and outline.is_settled():
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
        stop = with_target(session.outline, frame)

        def command() -> Decision | None:
            nonlocal stop
            stop = with_target(session.outline, stop)
            return cancel_decision(session.outline, stop, by)

        return await self.decide(session, command)

    async def withdraw(self, session: Session, frame: f.Withdraw) -> Appended:
        """Withdraws a queued message; raises NotFound when it is not in the queue any more."""

        def command() -> Decision:
            if frame.message not in session.outline.queue:
                raise not_queued()
            return withdraw_decision(session.outline, frame.message, "withdrawn")

        done = await self.decide(session, command)
        assert done is not None
        return done

    async def edit_queued(
        self, session: Session, frame: f.EditQueued, *, by: str | None = None
    ) -> Appended | None:
        """Replaces a queued message in its place; ``None`` if that changes nothing.

        Raises NotFound when a run has begun with it, Forbidden when ``by`` has not sent it,
        EventTooLarge, and what :func:`attach_files` raises.
        """
        files: Sequence[AttachedFile] | None = None
        if has_files(frame) or frame.attachments is not None:
            # Before anything is attached.
            edit(session, frame, by=by, files=None)
            files = await attach_files(self._files, frame, session=session.id, by=by)
        return await self.decide(session, lambda: edit(session, frame, by=by, files=files))

    async def promote(
        self, session: Session, frame: f.Promote, *, by: str | None = None
    ) -> Appended | None:
        """Moves a queued message to the front; ``None`` if it is there.

        Raises NotFound when a run has begun with it.
        """
        return await self.decide(session, lambda: promote(session, frame, by=by))

    async def change_state(
        self, session: Session, frame: f.State, *, accepts: AcceptsState, identity: Identity | None
    ) -> Appended:
        """Changes the shared state, once for the frame's id, if it has one.

        Raises what :func:`state_command` says, and IdempotencyConflict.
        """
        by = None if identity is None else identity.id
        key = state_key(frame, by=by)
        command = state_command(session, frame.patch, key=key, accepts=accepts, identity=identity)
        try:
            done = await self.decide(session, command)
        except (AgentError, EventTooLarge, Forbidden, StateConflict):
            # Not for a change that was made before and is sent again: that is a duplicate.
            known = None if key is None else await session.find(key)
            if known is None:
                raise
            return known
        assert done is not None
        return done

    async def clear(self, session: Session, *, key: Key | None = None) -> Appended:
        """Clears the conversation. Raises RunActive while a run is active or a message queued."""

        def command() -> Decision:
            if session.outline.run is not None or session.outline.queue:
                raise RunActive("Stop the answer first, then clear.", retry_after=1.0)
            return Decision(entry(e.HistoryCleared(timestamp=now_ms())), key=key)

        done = await self.decide(session, command)
        assert done is not None
        return done

    async def switch_agent(
        self, session: Session, agent: str, *, key: Key | None = None
    ) -> Appended:
        """Gives the session another agent: for its later messages, and those that are queued."""

        def command() -> Decision:
            return Decision(entry(e.SessionUpdated(agent=agent, timestamp=now_ms())), key=key)

        done = await self.decide(session, command)
        assert done is not None
        return done


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


def accepted_event(
    frame: f.Send, agent: str | None, *, by: str | None, files: Sequence[AttachedFile]
) -> e.MessageAccepted:
    """The event that accepts this message."""
    message = user_message(frame.id, frame.content, frame.metadata, files=files)
    return e.MessageAccepted(message, frame.overlap or "queue", agent, by, timestamp=now_ms())


def send_key(frame: f.Send, *, by: str | None) -> Key:
    """The idempotency key of a message or slash command: its id, and a digest with its sender."""
    return Key(f"send:{frame.id}", body_digest(frame, by=by))


def state_key(frame: f.State, *, by: str | None) -> Key | None:
    """The idempotency key of a change of the shared state; ``None`` for a frame without an id."""
    return None if frame.id is None else Key(f"state:{frame.id}", body_digest(frame, by=by))


def body_digest(frame: f.ClientFrame, *, by: str | None) -> str:
    """A digest of a frame's body and its sender: the same whenever the same id is sent again."""
    body = _encoder.encode(msgspec.structs.replace(frame, id=""))
    if by is not None:
        body = b"%b %b" % (_encoder.encode(by), body)
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()
