"""Priming an encoder with the part of a run that a reader's position is in the middle of."""

from __future__ import annotations

from ..errors import PositionLost, Unavailable
from ..protocol.position import GENESIS, Position, parse_position
from ..protocol.wires.wire import Encoder
from ..sessions.conversation import active_run_start
from ..sessions.session import Session
from ..store import Store
from .connection import LOG_REPLACED
from .pieces import Pieces


async def prime(store: Store, session: Session, encoder: Encoder, position: Position) -> Position:
    """Feeds ``encoder`` the run that ``position`` is in the middle of, up to there.

    The output of the encoder is dropped: the client has it, or must not get it. Returns the
    position to continue from. It may differ from ``position``, if compaction has removed that event
    from the store while it is still in memory.
    """
    if position.seq > session.head.seq:
        # The client was connected to another node, and no ring has reached this one yet.
        await session.catch_up()
    while position.seq:
        first = await active_run_start(store, session.id, position.seq)
        if first is None:
            break
        begun = Position(position.epoch, first.seq, first.tag)
        try:
            return await _feed(session, encoder, begun, through=position.seq)
        except PositionLost as lost:
            if lost.reason != "compacted":
                raise Unavailable(LOG_REPLACED) from lost
            # Compaction has removed the event that was read last: start again.
    return position


async def _feed(session: Session, encoder: Encoder, begun: Position, *, through: int) -> Position:
    pieces, position = Pieces(session), begun
    while position.seq < through:
        records = [one for one in await pieces.after(position) if one.seq <= through]
        if not records:
            break
        encoder.events(position.epoch, records)
        position = Position(position.epoch, records[-1].seq, records[-1].tag)
    return position


async def before_folded(store: Store, session: Session, after: str) -> Position:
    """The nearest position before ``after``, whose event compaction folded into a later one."""
    folded = parse_position(after)
    kept = await store.read_back(session.id, before=folded.seq, limit=1)
    if kept:
        return Position(folded.epoch, kept[-1].seq, kept[-1].tag)
    return Position(folded.epoch, 0, GENESIS)
