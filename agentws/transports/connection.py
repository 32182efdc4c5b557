"""A connection is a cursor.

It owns a position in its session's log and nothing else: no queue, no task. When the log grows it
is rung, reads what follows its position and writes that as one message. A peer that is slow is
read for later, when it can take more; what it then reads is merged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol

from ..auth import Identity
from ..errors import AgentwsError, Draining, Internal, PositionLost, Unavailable
from ..protocol import frames as f
from ..protocol.codec import Record
from ..protocol.position import Position
from ..protocol.sizes import MESSAGE
from ..sessions.session import Session
from ..tasks.tasks import Tasks
from .outlet import Outlet
from .pieces import Pieces

logger: Final = logging.getLogger("agentws")

MAX_CONTROLS: Final = 256
"""Control frames that may wait for a peer before it is closed as one that never reads."""
MAX_UNREAD: Final = 1024 * 1024
"""Bytes of control frames that may wait, likewise; what is said to everybody is among them."""
CROWDED: Final = 64 * 1024
"""Bytes of them at which the peer is not listened to any more: its frames cause most of them."""


class Wire(Protocol):
    """How a connection says things; see ``agentws.protocol.native`` and ``.simple``."""

    def events(self, epoch: str, records: Sequence[Record]) -> list[bytes]: ...

    def control(self, frame: f.ControlFrame) -> bytes | None: ...

    def messages(self, parts: list[bytes]) -> list[bytes]: ...


class Connection:
    """One peer following one session."""

    __slots__ = (
        "_closing",
        "_controls",
        "_corked",
        "_outgoing",
        "_outlet",
        "_reading",
        "_room",
        "_tasks",
        "_uncorking",
        "commands",
        "id",
        "identity",
        "position",
        "session",
        "unread",
        "wire",
    )

    def __init__(
        self,
        *,
        id: str,
        session: Session,
        identity: Identity | None,
        wire: Wire,
        outlet: Outlet,
        tasks: Tasks,
    ) -> None:
        self.id = id
        self.session = session
        self.identity = identity
        self.wire = wire
        self.position: Position = session.head
        self._outlet = outlet
        self._tasks = tasks
        self._controls: list[bytes] | None = None
        self._outgoing: list[bytes] | None = None
        self._corked = True
        self._uncorking = False
        self._reading = False
        self._room: asyncio.Future[None] | None = None
        self._closing: tuple[int, str] | None = None
        self.unread = 0
        """Bytes of control frames that wait for the peer."""
        self.commands: deque[Any] | None = None
        """Commands of the agent that wait while one of them runs; ``None`` while none does."""
        outlet.on_writable = self.ring

    def __repr__(self) -> str:
        return f"<Connection {self.id} at {self.position.seq}>"

    @property
    def owner(self) -> str | None:
        return None if self.identity is None else self.identity.id

    # Saying things

    def send_control(self, frame: f.ControlFrame) -> None:
        """Writes a control frame, after what was said before."""
        said = self.wire.control(frame)
        if said is not None:
            self.send_frames([said])

    def begin(self, position: Position, said: Sequence[bytes]) -> None:
        """Follows the log from ``position`` on, after ``said``.

        That is bounded by what a session may hold open, and counts as nothing that was left unread.
        """
        self.position = position
        self._controls = [*(self._controls or ()), *said]

    def send_frames(self, parts: Sequence[bytes]) -> None:
        """Writes encoded frames, before any event that is still to be read."""
        if self._closing is not None:
            return
        if self._controls is None:
            self._controls = []
        self._controls += parts
        for part in parts:
            self.unread += len(part)
        if len(self._controls) > MAX_CONTROLS or self.unread > MAX_UNREAD:
            self.close(4429, "too many unread messages")
        if not self._corked:
            self.ring()

    def send_error(self, error: AgentwsError, *, reply: str | None = None) -> None:
        """Tells the peer of an error; the connection lives on."""
        self.send_control(f.error_frame(error, reply=reply))

    async def room(self) -> None:
        """Returns when the peer may be listened to again. For one waiter at a time."""
        while self.unread > CROWDED and self._closing is None and not self._outlet.broken:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def cork(self) -> None:
        """Holds writing back, so that what happens until :meth:`uncork` leaves as one message."""
        self._corked = True

    def uncork(self) -> None:
        """Writes what was held back, once what it has set off has had its turn on the loop.

        An agent that answers at once thereby answers in the same message that accepts the question.
        """
        if not self._uncorking:
            self._uncorking = True
            asyncio.get_running_loop().call_soon(self.uncork_now)

    def uncork_now(self) -> None:
        self._corked = self._uncorking = False
        self.ring()

    # Following (session.Follower)

    def ring(self) -> None:
        """Writes what there is, as far as the peer takes it. Never raises: others are rung, too."""
        if self._corked or self._reading:
            return
        outlet = self._outlet
        try:
            while not (outlet.blocked or outlet.broken):
                if not self._outgoing:
                    parts = self._next_parts()
                    if not parts:
                        break
                    if len(parts) == 1:
                        self._outgoing = self.wire.messages(parts)
                    else:
                        self._outgoing = self._in_pieces(parts)
                outlet.write(self._outgoing.pop(0))
            if self._closing is not None and not self._outgoing and not outlet.blocked:
                self._close_now(*self._closing)
        except Exception:
            self._give_up()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _give_up(self) -> None:
        logger.exception("%r can't be written to", self)
        if self._closing is None:
            # Corked, so that saying why does not run into the same again.
            self._corked = True
            self.refuse(Internal())
            self.uncork()

    def _in_pieces(self, parts: list[bytes]) -> list[bytes]:
        """``parts`` as messages that a peer can take one at a time."""
        if not parts:
            return []
        # In an array each part has a comma or bracket after it.
        if sum(map(len, parts)) + len(parts) < MESSAGE:
            return self.wire.messages(parts)
        messages: list[bytes] = []
        start, size = 0, 1
        for at, part in enumerate(parts):
            size += len(part) + 1
            if size > MESSAGE and at > start:
                messages += self.wire.messages(parts[start:at])
                start, size = at, len(part) + 2
        return messages + self.wire.messages(parts[start:])

    def lost(self) -> None:
        """The log is not what it was: the peer comes back and is told so."""
        self.send_error(Unavailable("This session is not what it was."))
        self.close(4503, "position lost")

    def _next_parts(self) -> list[bytes]:
        """The next frames to write, and the position that is reached with them."""
        parts, self._controls = self._controls or [], None
        self.unread = 0
        # One that is being closed may never have been welcomed; the log waits for its return.
        if self._closing is None and self.position.seq < self.session.head.seq:
            records = self.session.tail_after(self.position)
            if records is None:
                # What was said goes first, a welcome above all; the next turn reads.
                if not parts:
                    self._read_store()
            else:
                parts += self._advance(records)
                if not parts:
                    return self._next_parts()
        return parts

    def _advance(self, records: Sequence[Record]) -> list[bytes]:
        if not records:
            raise Unavailable("The store does not have what the log has.")
        epoch, last = self.position.epoch, records[-1]
        self.position = Position(epoch, last.seq, last.tag)
        return self.wire.events(epoch, records)

    def _read_store(self) -> None:
        """The position is older than what is in memory: a task reads pages until it is not."""
        self._reading = True
        reading, immediate = self._read_pages(), self.session.immediate
        self._tasks.call_store(reading, name=f"reading for {self.id}", immediate=immediate)

    async def _read_pages(self) -> None:
        failed: AgentwsError | None = None
        try:
            await self._write_pages()
        except PositionLost as lost:
            failed = lost
        except AgentwsError as error:
            failed = error
        except Exception:
            logger.exception("the log could not be read for %r", self)
            failed = Internal()
        # Not when cancelled: then nobody is to begin again.
        self._reading = False
        match failed:
            case PositionLost():
                self.lost()
            case AgentwsError():
                self.refuse(failed)
        self.ring()

    async def _write_pages(self) -> None:
        pieces = Pieces(self.session)
        while not self._over and self.session.tail_after(self.position) is None:
            await self._write_slowly(await self._next_messages(pieces))

    async def _next_messages(self, pieces: Pieces) -> list[bytes]:
        """The next piece of the log, to be held by nobody but who writes it."""
        return self._in_pieces(self._advance(await pieces.after(self.position)))

    @property
    def _over(self) -> bool:
        return self._closing is not None or self._outlet.broken

    async def _write_slowly(self, messages: list[bytes]) -> None:
        """Writes ``messages`` as the peer takes them, and keeps none that it was sent."""
        while messages and not self._over:
            await self._outlet.writable()
            self._outlet.write(messages.pop(0))
        await self._outlet.writable()

    # Closing

    def leave(self) -> None:
        """The peer has gone. Without this, only the garbage collector could free what is left."""
        self._outlet.broken = True
        self._outlet.on_writable = _nothing

    @property
    def closing(self) -> bool:
        """Whether it is to be closed: nothing that the peer still sends counts."""
        return self._closing is not None

    def close(self, code: int, reason: str) -> None:
        """Closes once everything said before has been written."""
        if self._closing is None:
            self._closing = (code, reason)
        self.ring()

    def refuse(self, error: AgentwsError) -> None:
        """Says why, then closes with the code of ``error``."""
        self.send_control(bye(error))
        if self.wire.control(bye(error)) is None:
            self.send_error(error)
        self.close(error.close_code, error.code)

    def close_for_restart(self) -> None:
        """The node goes away; the peer is told to come back, and finds another or the next one."""
        error = Draining(retry_after=1.0)
        self.send_control(bye(error, code=1012))
        self.close(1012, "service restart")

    def _close_now(self, code: int, reason: str) -> None:
        self._corked = True
        self._outlet.send({"type": "websocket.close", "code": code, "reason": reason})
        self._outlet.broken = True


def _nothing() -> None:
    pass


def bye(error: AgentwsError, *, code: int | None = None) -> f.Bye:
    return f.Bye(
        code=code or error.close_code,
        reason=error.code,
        message=f.sayable(str(error)),
        retryable=error.retryable,
        retry_after=error.retry_after,
    )
