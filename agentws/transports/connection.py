"""A connection is a cursor: a position in a session's log, and a peer to write to.

It has no queue and no task. When the log grows it is rung, reads what follows its position and
writes that as one message.

This is where backpressure is applied to a slow consumer. While the outgoing buffer is full, nothing
is read from the log, so nothing waits in memory. When the buffer drains, the events since then are
read and merged.

What bounds the memory of one connection: the frames of one read (``_outgoing``), which is at most
the session's tail, and ``MAX_CONTROLS`` control frames of together ``MAX_UNREAD`` bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from ..auth import Identity
from ..errors import AgentwsError, Draining, Internal, PositionLost, Unavailable
from ..protocol import frames as f
from ..protocol.codec import Record
from ..protocol.position import Position
from ..protocol.sizes import MESSAGE
from ..protocol.wires.wire import Encoder
from ..sessions.session import Session
from .outlet import Outlet, Writer
from .pieces import Pieces

logger: Final = logging.getLogger("agentws")

MAX_CONTROLS: Final = 256
"""The most control frames that may wait for a peer. With more it is closed: it never reads."""
MAX_UNREAD: Final = 1024 * 1024
"""The most bytes of such frames, likewise. Broadcasts count, too."""
PAUSE_READING_AT: Final = 64 * 1024
"""Bytes of waiting control frames above which no more of the peer's messages are read: most of
them are replies."""
CLOSING_WAIT: Final = 1.0
"""Seconds that a peer which is to be closed has to read what was written before."""

LOG_REPLACED: Final = "The log of this session was replaced. Load the session again."
"""The sentence for a reader whose position became void: the log was lost or deleted under it."""


class Connection:
    """One peer following one session."""

    __slots__ = (
        "_controls",
        "_corked",
        "_outgoing",
        "_outlet",
        "_reading",
        "_readable",
        "_uncorking",
        "commands",
        "encoder",
        "ending",
        "id",
        "identity",
        "loop",
        "position",
        "session",
        "unread",
    )

    def __init__(
        self,
        *,
        id: str,
        session: Session,
        identity: Identity | None,
        encoder: Encoder,
        outlet: Outlet,
    ) -> None:
        self.id = id
        self.loop = outlet.loop
        self.session = session
        self.identity = identity
        self.encoder = encoder
        self.position: Position = session.head
        self._outlet = outlet
        self._controls: list[bytes] | None = None
        self._outgoing: list[bytes] | None = None
        self._corked = True
        self._uncorking = False
        self._reading = False
        self._readable: asyncio.Future[None] | None = None
        self.ending: tuple[int, str] | None = None
        """The code and the reason of its close, once that is decided. Client messages are ignored
        from then on."""
        self.unread = 0
        """Bytes of control frames that wait for the peer."""
        self.commands: deque[Any] | None = None
        """Commands of the agent that wait while one of them runs; ``None`` while none does."""
        outlet.writer = self

    def __repr__(self) -> str:
        return f"<Connection {self.id} at {self.position.seq}>"

    @property
    def owner(self) -> str | None:
        return None if self.identity is None else self.identity.id

    # Writing

    def send_control(self, frame: f.ControlFrame) -> None:
        """Writes a control frame, in order. Writes nothing if the wire does not show this frame."""
        encoded = self.encoder.control(frame)
        if encoded is not None:
            self.send_frames([encoded])

    def begin(self, position: Position, first: Sequence[bytes]) -> None:
        """Writes the frames ``first`` and follows the log from ``position`` on.

        The size of ``first`` (a snapshot, for example) is bounded elsewhere, so these frames do not
        count as unread control frames.
        """
        self.position = position
        self._controls = [*(self._controls or ()), *first]

    def send_frames(self, parts: Sequence[bytes]) -> None:
        """Writes encoded control frames, before any event that was not read yet."""
        if self.ending is not None:
            return
        controls = self._controls
        if controls is None:
            controls = self._controls = []
        controls += parts
        for part in parts:
            self.unread += len(part)
        if len(controls) > MAX_CONTROLS or self.unread > MAX_UNREAD:
            self.close(4429, "too many unread messages")
        if not self._corked:
            self.ring()

    def send_error(self, error: AgentwsError, *, reply: str | None = None) -> None:
        """Sends an error; the connection stays open."""
        self.send_control(f.error_frame(error, reply=reply))

    async def readable(self) -> None:
        """Waits until the peer has read its replies, so that its messages may be read again.

        For one waiter at a time.
        """
        while self.unread > PAUSE_READING_AT and self.ending is None and not self._outlet.broken:
            self._readable = self.loop.create_future()
            await self._readable

    def cork(self) -> None:
        """Holds writes back, so that those until :meth:`uncork` leave as one message."""
        self._corked = True

    def uncork(self) -> None:
        """Writes what was held back in the next turn of the event loop.

        So the first output of a fast agent is sent in the same message as ``accepted``.
        """
        if not self._uncorking:
            self._uncorking = True
            self.loop.call_soon(self.uncork_now)

    def uncork_now(self) -> None:
        self._corked = self._uncorking = False
        self._wake()

    # Other logs

    def share(self, writer: Writer) -> None:
        """Rings ``writer`` from now on when the peer may be written to. It rings this in turn."""
        self._outlet.writer = writer

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be written: then events of another log may be."""
        waits = self._corked or self._reading or self._controls or self._outgoing
        return not (waits or self._outlet.blocked or self._is_over)

    def write_beside(self, parts: Sequence[bytes]) -> None:
        """Writes encoded events of another log. Call it only while this is :attr:`idle`."""
        self._controls = list(parts)
        self.ring()

    def _wake(self) -> None:
        if self._outlet.writer is not None:
            self._outlet.writer.ring()

    # Following (session.Follower)

    def ring(self) -> None:
        """Reads on and writes, until the outgoing buffer is full. Never raises: the session rings
        its other followers too.
        """
        if self._corked or self._reading:
            return
        outlet = self._outlet
        try:
            while not (outlet.blocked or outlet.broken):
                if not self._outgoing:
                    if not self._controls and self.position.seq >= self.session.head.seq:
                        break
                    parts = self._next_parts()
                    if not parts:
                        break
                    self._outgoing = self._split(parts)
                outlet.write(self._outgoing.pop(0))
            if not self._outgoing:
                # Not an empty list, which every idle connection would hold.
                self._outgoing = None
            if self.ending is not None and not self._outgoing and not outlet.blocked:
                self._close_now(*self.ending)
        except Exception:
            self._give_up()
        if self._readable is not None and not self._readable.done():
            self._readable.set_result(None)

    def _give_up(self) -> None:
        logger.exception("%r can't be written to", self)
        if self.ending is None:
            # Corked, so that sending the reason does not fail in the same way again.
            self._corked = True
            self.refuse(Internal())
            self.uncork()

    def _split(self, parts: list[bytes]) -> list[bytes]:
        """Groups ``parts`` into messages of at most ``sizes.MESSAGE`` bytes; larger ones alone."""
        if not parts:
            return []
        # In an array each part has a comma or bracket after it.
        if len(parts) == 1 or sum(map(len, parts)) + len(parts) < MESSAGE:
            return self.encoder.messages(parts)
        messages: list[bytes] = []
        start, size = 0, 1
        for at, part in enumerate(parts):
            size += len(part) + 1
            if size > MESSAGE and at > start:
                messages += self.encoder.messages(parts[start:at])
                start, size = at, len(part) + 2
        return messages + self.encoder.messages(parts[start:])

    def lost(self) -> None:
        """Closes: the log was replaced or deleted. The client learns why when it reconnects."""
        self.send_error(Unavailable(LOG_REPLACED))
        self.close(4503, "position lost")

    def _next_parts(self) -> list[bytes]:
        """The next frames to write; moves the position to the last of them."""
        parts, self._controls = self._controls or [], None
        self.unread = 0
        # A connection that is being closed may not have sent its ``welcome``: no events then.
        if self.ending is None:
            records = self.session.tail_after(self.position)
            if records is None:
                # Control frames go first, above all a ``welcome``; the next turn reads.
                if not parts:
                    self._read_store()
            elif records:
                parts += self._advance(records)
                if not parts:
                    return self._next_parts()
        return parts

    def _advance(self, records: Sequence[Record]) -> list[bytes]:
        if not records:
            raise Unavailable("The store is behind the events that this node knows.")
        epoch, last = self.position.epoch, records[-1]
        self.position = Position(epoch, last.seq, last.tag)
        return self.encoder.events(epoch, records)

    def _read_store(self) -> None:
        """Starts a task that reads the store up to the tail: the position is older than that."""
        self._reading = True
        reading, immediate = self._read_pages(), self.session.immediate
        self._outlet.tasks.call_store(reading, name=f"reading for {self.id}", immediate=immediate)

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
        # Not after a cancellation: then no new read may begin.
        self._reading = False
        match failed:
            case PositionLost():
                self.lost()
            case AgentwsError():
                self.refuse(failed)
        self._wake()

    async def _write_pages(self) -> None:
        pieces = Pieces(self.session)
        while not self._is_over and self.session.tail_after(self.position) is None:
            await self._write_slowly(await self._next_messages(pieces))

    async def _next_messages(self, pieces: Pieces) -> list[bytes]:
        """The next piece of the log as messages; the caller holds the only reference to them."""
        return self._split(self._advance(await pieces.after(self.position)))

    @property
    def _is_over(self) -> bool:
        return self.ending is not None or self._outlet.broken

    async def _write_slowly(self, messages: list[bytes]) -> None:
        """Writes ``messages`` as the peer reads them (backpressure); drops each one once sent."""
        while messages and not self._is_over:
            await self._outlet.writable()
            self._outlet.write(messages.pop(0))
        await self._outlet.writable()

    # Closing

    def leave(self) -> None:
        """Call it when the peer has disconnected. Frees memory: it breaks a reference cycle."""
        self._outlet.broken = True
        self._outlet.writer = None

    @property
    def closing(self) -> bool:
        """Whether it will be closed, once what was written is sent."""
        return self.ending is not None

    def close(self, code: int, reason: str) -> None:
        """Closes the connection once everything before is written, or after ``CLOSING_WAIT``."""
        if self.ending is None:
            self.ending = (code, reason)
        self.ring()
        if self._outlet.blocked:
            self.loop.call_later(CLOSING_WAIT, self._close_unread)

    def _close_unread(self) -> None:
        """Closes a connection whose peer does not read what comes before the close."""
        if self.ending is not None and not self._outlet.broken:
            self._outgoing = None
            self._close_now(*self.ending)

    def refuse(self, error: AgentwsError) -> None:
        """Sends the reason, then closes with the code of ``error``."""
        self.send_frames(close_notice(self.encoder, error))
        self.close(error.close_code, error.code)

    def close_for_restart(self, retry_after: float) -> None:
        """Tells the peer to reconnect: to another node, or to this one after its restart."""
        error = Draining(retry_after=round(retry_after, 2))
        self.send_control(bye(error, code=1012))
        self.close(1012, "service restart")

    def _close_now(self, code: int, reason: str) -> None:
        self._corked = True
        self._outlet.send({"type": "websocket.close", "code": code, "reason": reason})
        self._outlet.broken = True


def close_notice(encoder: Encoder, error: AgentwsError, *, code: int | None = None) -> list[bytes]:
    """The last frame, with the reason of the close: ``bye``, or ``error`` on a wire without one."""
    last = encoder.control(bye(error, code=code))
    if last is None:
        last = encoder.control(f.error_frame(error))
    return [] if last is None else [last]


def bye(error: AgentwsError, *, code: int | None = None) -> f.Bye:
    return f.Bye(
        code=code or error.close_code,
        reason=error.code,
        message=f.sendable(str(error)),
        retryable=error.retryable,
        retry_after=error.retry_after,
    )
