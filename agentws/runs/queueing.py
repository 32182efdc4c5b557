"""Changes to the queue: a message that waits is replaced in its place, or moved to the front.

Both are commands, decided against the log that they are appended to: a message that a run has begun
with is not in the queue any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ..agents.commands import unescape
from ..errors import Forbidden, NotFound
from ..protocol import events as e
from ..protocol import frames as f
from ..protocol import messages as m
from ..protocol.attachments import ATTACHMENTS, AttachedFile, files_of
from ..protocol.codec import check_sizes, entry
from ..protocol.outline import Outline
from ..sessions.session import Session
from .attaching import check_content
from .beginning import started_by_message
from .deciding import Decision
from .ids import new_id, now_ms

RUN_STARTED: Final = 1024
"""Bytes of a frame with RUN_STARTED at most, beside the message that the run answers."""


def edit(
    session: Session,
    frame: f.EditQueued,
    *,
    by: str | None,
    files: Sequence[AttachedFile] | None,
) -> Decision | None:
    """What an edit appends; ``None`` if it changes nothing. ``files``: those of the frame, if any.

    Raises NotFound, BadRequest for an empty message, Forbidden for a message of somebody else, and
    EventTooLarge. A run acts for the sender of its message, so nobody else may write it.
    """
    accepted = queued(session.outline, frame.message)
    if accepted.by != by:
        raise Forbidden("Only the sender of this message may edit it.")
    edited = msgspec.structs.replace(accepted, message=_edited(accepted.message, frame, files))
    if not files_of(edited.message):
        check_content(frame)
    if edited == accepted:
        return None
    check_answerable(session, edited)
    return Decision(entry(e.MessageEdited(edited.message, by, timestamp=now_ms())))


def promote(session: Session, frame: f.Promote, *, by: str | None) -> Decision | None:
    """What a promotion appends; ``None`` if the message is at the front. Raises NotFound."""
    queued(session.outline, frame.message)
    if frame.message == next(iter(session.outline.queue)):
        return None
    return Decision(entry(e.MessagePromoted(frame.message, by, timestamp=now_ms())))


def queued(outline: Outline, message: str) -> e.MessageAccepted:
    """The message as it waits in the queue for a run of its own; raises NotFound."""
    accepted = outline.queue.get(message)
    if accepted is None:
        raise not_queued()
    if message in outline.steering:
        raise NotFound(
            "This message waits for the active run, which may take it at any moment.",
            expected="the id of a queued message",
        )
    return accepted


def not_queued() -> NotFound:
    return NotFound("This message is not in the queue.", expected="the id of a queued message")


def check_answerable(session: Session, accepted: e.MessageAccepted) -> None:
    """Raises EventTooLarge for a message that is too large for the first event of its run."""
    encoded = entry(accepted)
    check_sizes([encoded], session.max_event_size)
    if len(encoded.data) + RUN_STARTED > session.max_event_size:
        started = started_by_message(session.id, new_id("run"), accepted.message)
        check_sizes([entry(started, run=started.run_id)], session.max_event_size)


def user_message(
    id: str, content: m.Content, metadata: m.Metadata | None, *, files: Sequence[AttachedFile]
) -> m.UserMessage:
    """The message that a client's frame asks for."""
    text = unescape(content) if isinstance(content, str) else content
    if metadata is None and not files:
        return m.UserMessage(id, text)
    told = dict(metadata or {})
    told.pop(ATTACHMENTS, None)
    if files:
        told[ATTACHMENTS] = msgspec.to_builtins(files)
    return m.UserMessage(id, text, metadata=told or None)


def _edited(
    known: m.UserMessage, frame: f.EditQueued, files: Sequence[AttachedFile] | None
) -> m.UserMessage:
    """The message with what the frame changes: members that it leaves out stay as they are."""
    metadata = known.metadata if frame.metadata is None else frame.metadata
    kept = files_of(known) if files is None else files
    return user_message(known.id, frame.content, metadata, files=kept)
