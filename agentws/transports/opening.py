"""Where a reader begins: after its position, or with a snapshot and the reason why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import LostReason
from ..protocol import frames as f
from ..protocol.native import snapshot_frames
from ..protocol.position import GENESIS, Position, read_position
from ..protocol.sizes import PAGE
from ..sessions.session import Session

if TYPE_CHECKING:
    from ..gateway.gateway import AgentGateway

_WITHOUT_POSITION: Final = "no_position"


class Beginning(NamedTuple):
    """What a reader is given before anything new: it then follows from ``position``."""

    position: Position
    resume: f.Resume
    reason: LostReason | str | None = None
    frames: Sequence[bytes] = ()
    """The snapshot's frames; they all stand at ``position``."""


async def begin(session: Session, *, after: str | None, made: bool, messages: int) -> Beginning:
    """A replay from ``after`` where that is good, else a snapshot of the newest ``messages``.

    ``made``: the session was made just now. A reader that brings no position is then told that it
    is new; one that brings a position has something to drop, and gets an empty snapshot.
    """
    if after is None and made:
        return Beginning(Position(session.head.epoch, 0, GENESIS), "new")
    reason: LostReason | str = _WITHOUT_POSITION
    if after is not None:
        found = await resume_point(session, after, made=made)
        if isinstance(found, Position):
            return Beginning(found, "replay")
        reason = found
    snapshot = await session.snapshot(messages=messages, size=PAGE)
    frames = snapshot_frames(
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
    return Beginning(snapshot.position, "snapshot", reason, frames)


async def resume_point(session: Session, after: str, *, made: bool) -> Position | LostReason:
    """The position ``after`` where it is good, else why it can't be continued from.

    A position that can't be read is one that is not good: what a client's own storage did to it
    must not keep the client out. ``made``: no position of an earlier log continues into this one.
    """
    position = None if made else read_position(after)
    if position is None:
        return "lost"
    if position.seq > session.head.seq:
        # The reader comes from another node, whose ring has not reached this one.
        await session.catch_up()
    return await session.check(position) or position


def welcome(
    gateway: AgentGateway,
    session: Session,
    beginning: Beginning,
    *,
    connection: str,
    identity: str | None,
) -> f.Welcome:
    """The first frame of every reader of the native wire."""
    limits = gateway.limits
    return f.Welcome(
        protocol=f.NATIVE,
        connection=connection,
        session=session.id,
        head=str(session.head),
        resume=beginning.resume,
        reason=beginning.reason,
        agent=session.info.agent,
        agents=gateway.agents.names,
        identity=identity,
        heartbeat=limits.heartbeat,
        limits=f.FrameLimits(limits.max_message_size, limits.max_queued, limits.message_rate),
    )
