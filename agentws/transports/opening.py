"""Where a reader begins: after its position, or with a snapshot and the reason why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import LostReason
from ..protocol import frames as f
from ..protocol.native import snapshot_frames
from ..protocol.position import GENESIS, Position, parse_position
from ..protocol.sizes import PAGE
from ..session import Session

if TYPE_CHECKING:
    from ..gateway import AgentGateway

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

    ``made``: the session is new, so there is nothing to tell. Raises BadRequest for what is no
    position at all.
    """
    if made:
        return Beginning(Position(session.head.epoch, 0, GENESIS), "new")
    position = None if after is None else parse_position(after)
    if position is not None and position.seq > session.head.seq:
        # The reader comes from another node, whose ring has not reached this one.
        await session.catch_up()
    reason = _WITHOUT_POSITION if position is None else await session.check(position)
    if position is not None and reason is None:
        return Beginning(position, "replay")
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
