"""What a client says on the simple wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..agents.commands import parse_command
from ..errors import PositionLost, Unavailable
from ..protocol import frames as f
from ..protocol.position import GENESIS, Position, parse_position
from ..protocol.simple import SimpleWire, parse_simple
from ..runs.commands import Answer
from ..runs.inbox import check_content
from ..runs.leased import new_id
from ..sessions.conversation import run_begun
from .commands import take_command
from .connection import Connection
from .opening import resume_point
from .pieces import Pieces

if TYPE_CHECKING:
    from ..gateway.gateway import AgentGateway
    from .websocket import Opening


class SimplePeer:
    """Answers the messages of one simple connection. Nothing is sent on connect."""

    __slots__ = ("_connection", "_gateway", "_wire")

    refuses_binary = 1003

    def __init__(self, gateway: AgentGateway, connection: Connection, wire: SimpleWire) -> None:
        self._gateway = gateway
        self._connection = connection
        self._wire = wire

    async def open(self, opening: Opening) -> None:
        """Places the cursor: after the client's position where that is good, else at the end.

        A position that was compacted away is in the middle of an answer: it begins before that.
        One that is not good for another reason, or can't be read, is told by an error.
        A run that the cursor is in the middle of is taken up with the text it began with.
        """
        session = self._connection.session
        position = session.head
        if opening.after is not None:
            position = await self._place(opening.after, made=opening.made)
        self._connection.position = await self._take_up(position)

    async def _take_up(self, position: Position) -> Position:
        """Where to go on for who stands at ``position``, with what its run said so far remembered.

        That is not after what was said there: it may be in memory still, and folded in the store.
        """
        session = self._connection.session
        if position.seq > session.head.seq:
            # The client comes from another node, whose ring has not reached this one.
            await session.catch_up()
        while position.seq:
            first = await run_begun(self._gateway.store, session.id, position.seq)
            if first is None:
                break
            begun = Position(position.epoch, first.seq, first.tag)
            try:
                return await self._remember(begun, through=position.seq)
            except PositionLost as lost:
                if lost.reason != "compacted":
                    raise Unavailable("This session is not what it was.") from lost
                # The event that was read last has been folded away meanwhile: once more.
        return position

    async def _remember(self, begun: Position, *, through: int) -> Position:
        pieces, position = Pieces(self._connection.session), begun
        while position.seq < through:
            records = [one for one in await pieces.after(position) if one.seq <= through]
            if not records:
                break
            self._wire.prime(position.epoch, records)
            position = Position(position.epoch, records[-1].seq, records[-1].tag)
        return position

    async def _place(self, after: str, *, made: bool) -> Position:
        """Where to go on for who has seen everything up to ``after``."""
        session, store = self._connection.session, self._gateway.store
        found = await resume_point(session, after, made=made)
        if isinstance(found, Position):
            return found
        if found == "compacted":
            # It was in the middle of an answer, which is now said whole.
            folded = parse_position(after)
            kept = await store.read_back(session.id, before=folded.seq, limit=1)
            if kept:
                return Position(folded.epoch, kept[-1].seq, kept[-1].tag)
            return Position(folded.epoch, 0, GENESIS)
        self._connection.send_error(PositionLost(found))
        return session.head

    def _say(self, answer: Answer) -> None:
        self._connection.send_control(answer.notice)

    def reply_to(self, text: str) -> str | None:
        return None

    async def text(self, text: str) -> None:
        message = parse_simple(text)
        check_content(message.content)
        connection = self._connection
        typed = parse_command(message.content)
        if typed is not None:
            await take_command(self._gateway, connection, typed, id=None, say=self._say)
            return
        frame = f.Send(id=new_id("msg"), content=message.content, metadata=message.metadata)
        await self._gateway.send(connection.session, frame, identity=connection.identity)
