"""Priming an encoder with the part of a run that a reader's position is in the middle of."""

from __future__ import annotations

from ..errors import PositionLost, Unavailable
from ..protocol.position import GENESIS, Position, parse_position
from ..protocol.wires.wire import Encoder
from ..sessions.conversation import run_begun
from ..sessions.session import Session
from ..store import Store
from .connection import LOG_REPLACED
from .pieces import Pieces


async def prime(store: Store, session: Session, encoder: Encoder, position: Position) -> Position:
    """Feeds ``encoder`` the run that ``position`` is in the middle of, up to there.

    What it writes for that is dropped: the client has it, or is not to get it. Returns where to go
    on. That is not always ``position``: its event may still be in memory, and folded in the store.
    """
    if position.seq > session.head.seq:
        # The client comes from another node, and this one has not heard the bell yet.
        await session.catch_up()
    while position.seq:
        first = await run_begun(store, session.id, position.seq)
        if first is None:
            break
        begun = Position(position.epoch, first.seq, first.tag)
        try:
            return await _feed(session, encoder, begun, through=position.seq)
        except PositionLost as lost:
            if lost.reason != "compacted":
                raise Unavailable(LOG_REPLACED) from lost
            # The event that was read last has been folded away meanwhile: once more.
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
    """The nearest position before ``after``, whose event was folded into a later one."""
    folded = parse_position(after)
    kept = await store.read_back(session.id, before=folded.seq, limit=1)
    if kept:
        return Position(folded.epoch, kept[-1].seq, kept[-1].tag)
    return Position(folded.epoch, 0, GENESIS)
