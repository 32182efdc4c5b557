"""What a client says on the native wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..agents.commands import Typed, parse_command
from ..errors import NotSupported
from ..protocol import frames as f
from ..runs.commands import Answer
from ..runs.inbox import check_content
from ..store import Appended
from .commands import take_command
from .connection import Connection
from .opening import begin, welcome

if TYPE_CHECKING:
    from ..gateway.gateway import AgentGateway
    from .websocket import Opening


class NativePeer:
    """Answers the frames of one native connection."""

    __slots__ = ("_connection", "_gateway")

    refuses_binary = 4400

    def __init__(self, gateway: AgentGateway, connection: Connection) -> None:
        self._gateway = gateway
        self._connection = connection

    # Opening

    async def open(self, opening: Opening) -> None:
        """``welcome``, then a replay from the client's position, or a snapshot and why."""
        connection, gateway = self._connection, self._gateway
        beginning = await begin(
            connection.session,
            after=opening.after,
            made=opening.made,
            messages=gateway.limits.snapshot_messages,
        )
        said = welcome(
            gateway,
            connection.session,
            beginning,
            connection=connection.id,
            identity=connection.owner,
        )
        connection.begin(beginning.position, [f.encode_frame(said), *beginning.frames])

    # Frames

    def reply_to(self, text: str) -> str | None:
        return f.frame_id(text)

    async def text(self, text: str) -> None:
        frame = f.decode_client_frame(text)
        session, gateway = self._connection.session, self._gateway
        by, identity = self._connection.owner, self._connection.identity
        match frame:
            case f.Send():
                await self._send(frame)
            case f.Ping():
                self._connection.send_control(f.Pong(reply=frame.id))
            case f.Command():
                await self._command(frame.id, Typed(frame.name.lstrip("/"), frame.args or ""))
            case f.Cancel():
                await gateway.check_write(session, identity)
                self._accepted(frame.id, await gateway.inbox.cancel(session, frame, by=by))
            case f.Withdraw():
                await gateway.check_write(session, identity)
                self._accepted(frame.id, await gateway.inbox.withdraw(session, frame))
            case f.Answer():
                await gateway.check_write(session, identity)
                self._accepted(
                    frame.id, await gateway.inbox.answer(session, frame, identity=identity)
                )
            case f.ToolResult() | f.State() | f.Subscribe() | f.Unsubscribe() | f.Auth():
                raise NotSupported()

    async def _send(self, frame: f.Send) -> None:
        check_content(frame.content)
        typed = parse_command(frame.content) if isinstance(frame.content, str) else None
        if typed is not None:
            await self._command(frame.id, typed)
            return
        connection = self._connection
        done = await self._gateway.send(connection.session, frame, identity=connection.identity)
        self._accepted(frame.id, done)

    async def _command(self, reply: str | None, typed: Typed) -> None:
        def say(answer: Answer) -> None:
            self._accepted(reply, answer.claimed)
            self._connection.send_control(msgspec.structs.replace(answer.notice, reply=reply))

        await take_command(self._gateway, self._connection, typed, id=reply, say=say)

    def _accepted(self, reply: str | None, done: Appended | None) -> None:
        """``accepted``, with the head where nothing had to be appended."""
        session = self._connection.session
        position = session.head if done is None else done.position
        self._connection.send_control(
            f.Accepted(
                reply=reply,
                position=str(position),
                durability=self._gateway.store.durability,
                duplicate=done is not None and done.duplicate,
            )
        )
