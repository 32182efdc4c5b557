"""Where a reader begins. This is where a reconnecting client gets its replay: the events after its
position, or a snapshot and the reason why its position can't be continued from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from ..errors import LostReason, PositionLost
from ..limits import Limits
from ..protocol import frames as f
from ..protocol.codec import Record
from ..protocol.position import GENESIS, Position, read_position
from ..protocol.sizes import PAGE
from ..protocol.snapshots import snapshot_records
from ..protocol.wires.wire import Encoder, FollowWire
from ..sessions.session import Session
from .priming import before_folded, prime
from .service import SessionService

NoReplay = LostReason | Literal["no_position"]
NO_POSITION: Final = "no_position"


class Beginning(NamedTuple):
    """What a reader is given before anything new. It then follows the log from ``position``."""

    position: Position
    resume: f.Resume
    reason: NoReplay | None = None
    """Why there is no replay from the client's position."""
    records: Sequence[Record] = ()
    """The snapshot; all at ``position``."""


async def begin(
    service: SessionService,
    session: Session,
    wire: FollowWire,
    encoder: Encoder,
    *,
    after: str | None,
    made: bool,
) -> Beginning:
    """Returns where a reader of ``wire`` begins, and primes its encoder if the wire needs that.

    ``after`` is the position that the client sent. ``made``: this request created the session.
    """
    if wire.opening.snapshot:
        messages = service.limits.snapshot_messages
        beginning = await _replay_or_snapshot(session, after=after, made=made, messages=messages)
    else:
        beginning = await _replay_or_head(service, session, after=after, made=made)
    if wire.opening.prime:
        position = await prime(service.store, session, encoder, beginning.position)
        beginning = beginning._replace(position=position)
    return beginning


async def _replay_or_snapshot(
    session: Session, *, after: str | None, made: bool, messages: int
) -> Beginning:
    """A replay from ``after`` if one can start there, else a snapshot of the newest ``messages``.

    In a new session, a reader without a position is told that the session is new. One with a
    position has content to drop: it gets an empty snapshot.
    """
    if after is None and made:
        return Beginning(Position(session.head.epoch, 0, GENESIS), "new")
    reason: NoReplay = NO_POSITION
    if after is not None:
        found = await resume_point(session, after, made=made)
        if isinstance(found, Position):
            return Beginning(found, "replay")
        reason = found
    snapshot = await session.snapshot(messages=messages, size=PAGE)
    records = snapshot_records(
        snapshot.position,
        messages=snapshot.page.messages,
        state=snapshot.state,
        queued=snapshot.queued,
        notices=snapshot.page.notices,
        extras={
            "before": snapshot.page.before,
            "answered": snapshot.page.answered,
            "interrupts": snapshot.interrupts,
            "title": snapshot.title,
        },
    )
    return Beginning(snapshot.position, "snapshot", reason, records)


async def _replay_or_head(
    service: SessionService, session: Session, *, after: str | None, made: bool
) -> Beginning:
    """A replay from ``after`` if one can start there, else new events only.

    A position that compaction removed is in the middle of an answer, which is then replayed whole.
    """
    if after is None:
        return Beginning(session.head, "replay")
    found = await resume_point(session, after, made=made)
    if isinstance(found, Position):
        return Beginning(found, "replay")
    if found == "compacted":
        return Beginning(await before_folded(service.store, session, after), "replay")
    return Beginning(session.head, "replay", found)


async def resume_point(session: Session, after: str, *, made: bool) -> Position | LostReason:
    """The position ``after`` if a replay can start there, else the reason why not.

    A position that can't be parsed is ``lost`` and no error: the client's storage may have damaged
    it, which must not lock the client out. ``made``: a new log has no earlier positions.
    """
    position = None if made else read_position(after)
    if position is None:
        return "lost"
    if position.seq > session.head.seq:
        # The reader was connected to another node, and no ring has reached this one yet.
        await session.catch_up()
    return await session.check(position) or position


def greeting(
    service: SessionService,
    session: Session,
    wire: FollowWire,
    encoder: Encoder,
    beginning: Beginning,
    *,
    connection: str,
    identity: str | None,
) -> list[bytes]:
    """The control frames that are sent first: a ``welcome``, or an error for a lost position."""
    frame: f.ControlFrame
    if wire.opening.snapshot:
        frame = _welcome(
            service,
            session,
            beginning,
            protocol=wire.name,
            connection=connection,
            identity=identity,
        )
    elif beginning.reason is not None and beginning.reason != NO_POSITION:
        frame = f.error_frame(PositionLost(beginning.reason))
    else:
        return []
    encoded = encoder.control(frame)
    return [] if encoded is None else [encoded]


def _welcome(
    service: SessionService,
    session: Session,
    beginning: Beginning,
    *,
    protocol: str,
    connection: str,
    identity: str | None,
) -> f.Welcome:
    limits = service.limits
    return f.Welcome(
        protocol=protocol,
        connection=connection,
        session=session.id,
        head=str(session.head),
        resume=beginning.resume,
        reason=beginning.reason,
        agent=session.info.agent,
        agents=service.agents.names,
        overlaps=service.agents.overlaps or None,
        identity=identity,
        heartbeat=limits.heartbeat,
        limits=_frame_limits(limits, with_files=service.files is not None),
    )


def _frame_limits(limits: Limits, *, with_files: bool) -> f.FrameLimits:
    always = f.FrameLimits(limits.max_message_size, limits.max_queued, limits.message_rate)
    if not with_files:
        return always
    return msgspec.structs.replace(
        always,
        max_file_size=limits.max_file_size,
        max_files_per_message=limits.max_files_per_message,
        file_types=list(limits.file_types),
    )
