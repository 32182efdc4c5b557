"""What a client says on the simple wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..agents.commands import parse_command
from ..protocol import frames as f
from ..protocol.position import parse_position
from ..protocol.simple import SimpleWire, parse_simple
from ..runs.inbox import check_content
from ..runs.work import new_id
from .connection import Connection

if TYPE_CHECKING:
    from ..gateway import AgentGateway
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

        A run that the cursor is in the middle of is taken up with the text it began with.
        """
        connection, session = self._connection, self._connection.session
        connection.position = session.head
        if opening.after is not None:
            after = parse_position(opening.after)
            if await session.check(after) is None:
                connection.position = after
        if connection.position.seq:
            position = connection.position
            self._wire.prime(position.epoch, await session.run_so_far(position))

    def reply_to(self, text: str) -> str | None:
        return None

    async def text(self, text: str) -> None:
        message = parse_simple(text)
        check_content(message.content)
        connection = self._connection
        typed = parse_command(message.content)
        if typed is not None:
            notice = await self._gateway.command(
                connection.session, typed, identity=connection.identity
            )
            connection.say(notice)
            return
        frame = f.Send(id=new_id("msg"), content=message.content, metadata=message.metadata)
        await self._gateway.send(connection.session, frame, identity=connection.identity)
