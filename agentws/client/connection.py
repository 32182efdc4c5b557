"""One transport after another to one session: opening, noticing that it is dead, trying again.

It knows nothing of messages or logs; it hands every frame on and asks what to send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from ..errors import AgentwsError, BadRequest
from ..protocol.frames import (
    Bye,
    ControlFrame,
    Error,
    EventFrame,
    Ping,
    Welcome,
    decode_server_message,
    encode_frame,
)
from .backoff import BASE, CAP, retry_delay
from .errors import closed_with, refusal
from .log import SnapshotNeeded
from .transport import Opening, OpenTransport, Transport, TransportClosed
from .updates import ConnectionChange

Frame = EventFrame | ControlFrame
_PING: Final = encode_frame(Ping()).decode()
_RETRYABLE_4XX: Final = frozenset({4408, 4429})
# The server is there and says "not now": asking again at once would only make it worse.
_BUSY: Final = frozenset({1013, 4429, 4503})


class Timing(NamedTuple):
    """In seconds."""

    opening: float = 10.0
    """How long a connection may take to be welcomed."""
    answer: float = 3.0
    """How long a server may take to answer a ping, or to close after it said bye."""
    stable: float = 10.0
    """How long a connection must hold before the next drop counts as the first."""
    base: float = BASE
    cap: float = CAP


class Owner(Protocol):
    """Whose connection it is. All methods but ``opening`` must not block."""

    async def opening(self) -> Opening:
        """What to ask for now."""

    def received(self, frames: Sequence[Frame]) -> None:
        """The frames of one message, in order. Raises SnapshotNeeded to begin anew."""

    def outgoing(self) -> Iterable[str]:
        """What to put on the wire now."""

    def dropped(self, code: int) -> None:
        """The connection ended and another one will be tried."""

    def changed(self, change: ConnectionChange) -> None: ...

    def can_renew(self) -> bool:
        """Whether the next opening may bring fresh credentials."""


class Verdict(NamedTuple):
    """What the server said of the close that it announced."""

    retryable: bool
    retry_after: float | None
    error: AgentwsError
    final: bool
    """The close is certain."""


class Connection:
    """Runs until it is cancelled, or until trying again is of no use."""

    def __init__(
        self,
        open_transport: OpenTransport,
        owner: Owner,
        *,
        timing: Timing,
        random: Callable[[], float],
    ) -> None:
        self._open_transport = open_transport
        self._owner = owner
        self._timing = timing
        self._random = random
        self._attempt = 0
        self._wake = asyncio.Event()
        self._ping_due = False
        self._heartbeat: float | None = None
        self._welcomed_at: float | None = None
        self._verdict: Verdict | None = None

    def ring(self) -> None:
        """There is something to send."""
        self._wake.set()

    async def run(self) -> None:
        """Raises the AgentwsError that ended the trying."""
        while True:
            self._welcomed_at, self._heartbeat, self._verdict = None, None, None
            closed = await self._live_once()
            if not self._may_retry(closed):
                raise self._error(closed) from closed
            self._owner.dropped(closed.code)
            delay = self._delay(closed)
            why = str(self._error(closed)) if self._verdict else closed.reason
            self._owner.changed(ConnectionChange("reconnecting", delay, why))
            await asyncio.sleep(delay)

    # One connection

    async def _live_once(self) -> TransportClosed:
        """Opens a connection and serves it until it ends; returns how it ended."""
        transport: Transport | None = None
        try:
            async with asyncio.timeout(self._timing.opening) as deadline:
                transport = await self._open_transport(await self._owner.opening())
                await self._hear(transport)
                while self._welcomed_at is None:
                    await self._hear(transport)
                deadline.reschedule(None)
        except TransportClosed as closed:
            await _close(transport)
            return closed
        except TimeoutError:
            await _close(transport)
            return TransportClosed(1006, "The server took too long to answer.")
        except SnapshotNeeded as needed:
            await _close(transport)
            return TransportClosed(1006, str(needed))
        try:
            return await self._converse(transport)
        finally:
            await _close(transport)

    async def _converse(self, transport: Transport) -> TransportClosed:
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write(transport), name="agentws chat writer")
            try:
                return await self._read(transport)
            finally:
                writer.cancel()

    async def _read(self, transport: Transport) -> TransportClosed:
        """The only judge of whether the connection lives: it also sees what came before a close."""
        try:
            while True:
                try:
                    async with asyncio.timeout(self._patience()):
                        await self._hear(transport)
                except TimeoutError:
                    if self._verdict is not None and self._verdict.final:
                        raise
                    await self._probe(transport)
        except TransportClosed as closed:
            return closed
        except TimeoutError:
            return TransportClosed(1006, "The server gave no sign of life.")
        except SnapshotNeeded as needed:
            return TransportClosed(1006, str(needed))

    def _patience(self) -> float | None:
        return self._timing.answer if self._verdict is not None else self._heartbeat

    async def _probe(self, transport: Transport) -> None:
        """Asks for a sign of life; raises TimeoutError when none comes."""
        self._ping_due = True
        self._wake.set()
        async with asyncio.timeout(self._timing.answer):
            await self._hear(transport)

    async def _write(self, transport: Transport) -> None:
        self._wake.set()
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._ping_due:
                    self._ping_due = False
                    await transport.send(_PING)
                for text in self._owner.outgoing():
                    await transport.send(text)
        except TransportClosed:
            return

    async def _hear(self, transport: Transport) -> None:
        message = await transport.recv()
        try:
            frames = [frame for frame in decode_server_message(message) if frame is not None]
            for frame in frames:
                self._note(frame)
            self._owner.received(frames)
        except (msgspec.MsgspecError, UnicodeError, RecursionError, BadRequest) as error:
            why = "The server sent something that is no frame."
            raise TransportClosed(4500, why, retryable=False) from error

    def _note(self, frame: Frame) -> None:
        """What a frame says of the connection itself."""
        match frame:
            case Welcome():
                self._heartbeat = frame.heartbeat
                self._welcomed_at = asyncio.get_running_loop().time()
                self._owner.changed(ConnectionChange("open"))
            case Bye():
                error = closed_with(frame.code, frame.reason, frame.message)
                self._verdict = Verdict(frame.retryable, frame.retry_after, error, True)
            case Error(reply=None):
                self._verdict = Verdict(frame.retryable, frame.retry_after, refusal(frame), False)
            case _:
                self._verdict = None

    # Whether and when to try again

    def _may_retry(self, closed: TransportClosed) -> bool:
        expired = closed.code == 4401 and self._welcomed_at is not None
        if expired and self._owner.can_renew():
            return True
        if self._verdict is not None:
            return self._verdict.retryable
        if closed.retryable is not None:
            return closed.retryable
        if closed.code == 1008:
            return False
        return not 4400 <= closed.code < 4500 or closed.code in _RETRYABLE_4XX

    def _error(self, closed: TransportClosed) -> AgentwsError:
        return self._verdict.error if self._verdict else closed_with(closed.code, closed.reason)

    def _delay(self, closed: TransportClosed) -> float:
        stable = self._timing.stable
        since = self._welcomed_at
        if since is not None and asyncio.get_running_loop().time() - since >= stable:
            self._attempt = 0
        hint = (self._verdict.retry_after if self._verdict else closed.retry_after) or 0.0
        delay = retry_delay(
            self._attempt + (closed.code in _BUSY),
            self._random,
            base=self._timing.base,
            cap=self._timing.cap,
            at_least=hint,
        )
        self._attempt += 1
        return delay


async def _close(transport: Transport | None) -> None:
    if transport is not None:
        await transport.close()
