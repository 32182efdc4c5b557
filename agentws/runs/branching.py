"""The commands that branch a conversation: answer again, edit, go back to an earlier branch.

Each is decided against the log that it is appended to, as every command. What it needs to know of
the conversation is read first; if the log changes before the append, it is read again. They are
refused while a run is active or due, since its end is not known: stop it first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from ..auth import Identity
from ..errors import Conflict, NotFound, RunActive, VersionConflict
from ..protocol import events as e
from ..protocol import frames as f
from ..protocol import messages as m
from ..protocol.attachments import AttachedFile
from ..protocol.branches import mark, with_mark
from ..protocol.codec import Entry, entry
from ..protocol.outline import Outline
from ..sessions.session import Session
from ..sessions.turns import Turn
from ..store import Appended, Key
from .attaching import check_content, has_files
from .branches import new_branch, other_branch
from .deciding import RETRY_AFTER, RETRY_SECONDS, Decision
from .ids import now_ms
from .inbox import Inbox, accepted_event, body_digest, send_key

T = TypeVar("T")


class _Overtaken(VersionConflict):
    """The log has changed since the conversation was read."""


async def regenerate(
    inbox: Inbox,
    session: Session,
    frame: f.Regenerate,
    *,
    agent: str | None,
    identity: Identity | None,
) -> Appended:
    """Answers a user message again, by default the last one; once for the frame's id.

    Raises NotFound, Conflict for a queued message, RunActive, TooMany, and what a send raises.
    """
    by = None if identity is None else identity.id

    def accepted(turn: Turn) -> e.MessageAccepted:
        return e.MessageAccepted(turn.message, "queue", agent, by, timestamp=now_ms())

    key = _key(frame, by=by)
    return await _branch(inbox, session, frame.message, accepted, key=key, identity=identity)


async def edit(
    inbox: Inbox,
    session: Session,
    frame: f.Edit,
    *,
    agent: str | None,
    identity: Identity | None,
) -> Appended:
    """Goes on from an earlier user message with another one; once for its id, as a send.

    Raises NotFound, Conflict for a queued message, RunActive, TooMany, and what a send raises.
    """
    check_content(frame)
    by = None if identity is None else identity.id
    sent = f.Send(
        id=frame.id,
        content=frame.content,
        attachments=frame.attachments,
        metadata=frame.metadata,
    )
    key = Key(send_key(sent, by=by).id, body_digest(frame, by=by))
    files: Sequence[AttachedFile] = ()
    if has_files(sent):

        def check() -> None:
            _check_calm(session, session.version)
            inbox.check_room(session, None)

        found = await inbox.attach_files(session, sent, check, key=key, by=by)
        if isinstance(found, Appended):
            return found
        files = found
    event = accepted_event(sent, agent, by=by, files=files)
    return await _branch(
        inbox, session, frame.message, lambda turn: event, key=key, identity=identity
    )


async def switch(
    inbox: Inbox, session: Session, frame: f.Switch, *, by: str | None
) -> Appended | None:
    """Goes back to another branch; ``None`` if that one is in view.

    Raises NotFound for a branch that is forgotten, or whose place is not in view, and RunActive.
    """
    key = _key(frame, by=by)
    try:
        done = await _retried(lambda: _switch_once(inbox, session, frame.branch, key))
    except (NotFound, RunActive) as error:
        return await _unless_done(session, key, error)
    return done or (None if key is None else await session.find(key))


def _key(frame: f.Regenerate | f.Switch, *, by: str | None) -> Key | None:
    if frame.id is None:
        return None
    return Key(f"branch:{frame.id}", body_digest(frame, by=by))


async def _branch(
    inbox: Inbox,
    session: Session,
    message: str | None,
    accepted: Callable[[Turn], e.MessageAccepted],
    *,
    key: Key | None,
    identity: Identity | None,
) -> Appended:
    """Takes the turn of ``message`` out of view, and accepts the message that comes instead."""

    async def attempt() -> Appended:
        version, turn = await _read(inbox, session, message)
        if turn is None:
            return await _unless_done(session, key, _no_turn(session.outline, message))
        event = accepted(turn)
        branched = new_branch(session.outline, turn, event.message.id, end=session.head.seq)
        event = _marked(event, branched)

        def command(accepted: Entry) -> Decision:
            _check_calm(session, version)
            inbox.check_room(session, None)
            return Decision(_through_head(branched, session), key=key, more=[accepted])

        return await inbox.accept(session, event, command, key=key, identity=identity)

    return await _retried(attempt)


async def _switch_once(
    inbox: Inbox, session: Session, branch: str, key: Key | None
) -> Appended | None:
    fork = session.outline.branches.fork_with(branch)
    known = None if fork is None else fork.in_view.message
    version, turn = await _read(inbox, session, known)

    def command() -> Decision | None:
        _check_calm(session, version)
        if fork is None or turn is None or turn.message.id != known:
            raise NotFound("There is no such branch here.", expected="one at a message in view")
        if fork.current == branch:
            return None
        branched = other_branch(session.outline, fork, turn, branch, end=session.head.seq)
        return Decision(entry(branched), key=key)

    return await inbox.decide(session, command)


async def _read(inbox: Inbox, session: Session, message: str | None) -> tuple[int, Turn | None]:
    """The turn of a message, and the version of the session that it was read from.

    Raises _Overtaken if that is not the newest one, unless a run is active: that decides.
    """
    inbox.write_start(session)
    version = session.version
    turn = await session.find_turn(message)
    if turn is None:
        # Another node may have written it.
        await session.catch_up()
    if session.version != version and (turn is None or session.outline.is_settled()):
        raise _Overtaken()
    return version, turn


def _check_calm(session: Session, version: int) -> None:
    """Raises RunActive while anything is open, and _Overtaken if the log is not the one read."""
    if not session.outline.is_settled():
        raise RunActive("Stop the answer first.", retry_after=1.0)
    if session.version != version:
        raise _Overtaken()


def _no_turn(outline: Outline, message: str | None) -> Conflict | NotFound:
    if message is not None and message in outline.queue:
        return Conflict("This message is still in the queue.", expected="edit_queued for this one")
    return NotFound("There is no such message here.", expected="the id of a user message in view")


async def _unless_done(session: Session, key: Key | None, error: Conflict | NotFound) -> Appended:
    """The duplicate, if the request was carried out before; else raises ``error``."""
    known = None if key is None else await session.find(key)
    if known is None:
        raise error
    return known


def _marked(event: e.MessageAccepted, branched: e.HistoryBranched) -> e.MessageAccepted:
    """``event`` with a message that names the branches at its place."""
    message: m.UserMessage = with_mark(event.message, mark(branched.branch, branched.branches))
    return msgspec.structs.replace(event, message=message)


def _through_head(branched: e.HistoryBranched, session: Session) -> Entry:
    """The entry of the event. A notice may have been posted since the conversation was read."""
    hidden = (branched.hidden[0], session.head.seq)
    return entry(msgspec.structs.replace(branched, hidden=hidden))


async def _retried(attempt: Callable[[], Awaitable[T]]) -> T:
    """What ``attempt`` returns, as soon as the log does not change while it works."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + RETRY_SECONDS
    while True:
        try:
            return await attempt()
        except _Overtaken as error:
            if loop.time() > deadline:
                raise VersionConflict(retry_after=RETRY_AFTER) from error
