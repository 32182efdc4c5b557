"""Where a reader begins. This is where a reconnecting client gets its replay: the events after its
position, or a snapshot and the reason why its position can't be continued from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from ..errors import LostReason, PositionLost
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
_WITHOUT_POSITION: Final = "no_position"


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
    """Where a reader of ``wire`` begins that brings the position ``after``.

    ``made``: the session was made just now.
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
    """A replay from ``after`` where that is good, else a snapshot of the newest ``messages``.

    A reader of a new session that brings no position is told that it is new. One that brings a
    position has something to drop, and gets an empty snapshot.
    """
    if after is None and made:
        return Beginning(Position(session.head.epoch, 0, GENESIS), "new")
    reason: NoReplay = _WITHOUT_POSITION
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
            "interrupts": snapshot.interrupts,
            "title": snapshot.title,
        },
    )
    return Beginning(snapshot.position, "snapshot", reason, records)


async def _replay_or_head(
    service: SessionService, session: Session, *, after: str | None, made: bool
) -> Beginning:
    """A replay from ``after`` where that is good, else new events only.

    A position that was compacted away is in the middle of an answer: that is replayed whole.
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
    """The position ``after`` where it is good, else why it can't be continued from.

    A position that can't be read is one that is not good: what a client's own storage did to it
    must not keep the client out. ``made``: no position of an earlier log continues into this one.
    """
    position = None if made else read_position(after)
    if position is None:
        return "lost"
    if position.seq > session.head.seq:
        # The reader comes from another node, and this one has not heard the bell yet.
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
    """The control frames that are sent first: a ``welcome``, or that a position was lost."""
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
    elif beginning.reason is not None and beginning.reason != _WITHOUT_POSITION:
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
        identity=identity,
        heartbeat=limits.heartbeat,
        limits=f.FrameLimits(limits.max_message_size, limits.max_queued, limits.message_rate),
    )
