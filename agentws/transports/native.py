"""What a client says on the native wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..agents.commands import Typed, parse_command
from ..errors import BadRequest, LostReason, NotSupported
from ..protocol import frames as f
from ..protocol.native import snapshot_frames
from ..protocol.position import Position, parse_position
from ..runs.inbox import check_content
from ..store import Appended
from .connection import Connection

if TYPE_CHECKING:
    from ..gateway import AgentGateway
    from .websocket import Opening

_WITHOUT_POSITION: Final = "no_position"


class NativePeer:
    """Answers the frames of one native connection."""

    __slots__ = ("_connection", "_gateway")

    def __init__(self, gateway: AgentGateway, connection: Connection) -> None:
        self._gateway = gateway
        self._connection = connection

    # Opening

    async def open(self, opening: Opening) -> None:
        """``welcome``, then a replay from the client's position, or a snapshot and why."""
        connection, session = self._connection, self._connection.session
        if opening.made:
            connection.position = Position(session.head.epoch, 0, "")
            self._welcome(resume="new", reason=None)
            return
        after = None if opening.after is None else parse_position(opening.after)
        reason = _WITHOUT_POSITION if after is None else await session.check(after)
        if after is not None and reason is None:
            connection.position = after
            self._welcome(resume="replay", reason=None)
            return
        limit = self._gateway.limits.snapshot_messages
        snapshot = await session.snapshot(messages=limit)
        connection.position = snapshot.position
        self._welcome(resume="snapshot", reason=reason)
        connection.put(
            snapshot_frames(
                snapshot.position,
                messages=snapshot.messages,
                state=snapshot.state,
                queued=snapshot.queued,
                before=snapshot.before,
            )
        )

    def _welcome(self, *, resume: f.Resume, reason: LostReason | str | None) -> None:
        connection, gateway = self._connection, self._gateway
        session, limits = connection.session, gateway.limits
        connection.say(
            f.Welcome(
                protocol=f.NATIVE,
                connection=connection.id,
                session=session.id,
                head=str(session.head),
                resume=resume,
                reason=reason,
                agent=session.info.agent,
                agents=gateway.agents.names,
                identity=connection.owner,
                heartbeat=limits.heartbeat,
                limits=f.FrameLimits(
                    limits.max_message_size, limits.max_queued, limits.message_rate
                ),
            )
        )

    # Frames

    def reply_to(self, text: str) -> str | None:
        return f.frame_id(text)

    async def text(self, text: str) -> None:
        frame = f.decode_client_frame(text)
        session, gateway = self._connection.session, self._gateway
        by = self._connection.owner
        match frame:
            case f.Ping():
                self._connection.say(f.Pong(reply=frame.id))
            case f.Send():
                await self._send(frame)
            case f.Command():
                await self._command(frame.id, Typed(frame.name.lstrip("/"), frame.args or ""))
            case f.Cancel():
                await gateway.check_write(session, self._connection.identity)
                self._accepted(frame.id, await gateway.inbox.cancel(session, frame, by=by))
            case f.Withdraw():
                await gateway.check_write(session, self._connection.identity)
                self._accepted(frame.id, await gateway.inbox.withdraw(session, frame))
            case f.Answer():
                await gateway.check_write(session, self._connection.identity)
                self._accepted(frame.id, await gateway.inbox.answer(session, frame, by=by))
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
        if not typed.name:
            raise BadRequest("There is no command name.", expected="/help for a list")
        connection = self._connection
        notice = await self._gateway.command(
            connection.session, typed, identity=connection.identity
        )
        self._accepted(reply, None)
        connection.say(
            f.Notice(
                content=notice.content, level=notice.level, metadata=notice.metadata, reply=reply
            )
        )

    def _accepted(self, reply: str | None, done: Appended | None) -> None:
        """``accepted``, with the head where nothing had to be appended."""
        session = self._connection.session
        position = session.head if done is None else done.position
        self._connection.say(
            f.Accepted(
                reply=reply,
                position=str(position),
                durability=self._gateway.store.durability,
                duplicate=done is not None and done.duplicate,
            )
        )
