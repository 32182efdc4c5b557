"""Keeps one session connected: handshake, heartbeat, detection of half-open connections, reconnect.

It knows nothing of messages or logs: it passes every frame to its owner, and asks it what to send.
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
from .errors import SnapshotNeeded, closed_with, refusal
from .transport import Opening, OpenTransport, Transport, TransportClosed
from .updates import ConnectionChange

Frame = EventFrame | ControlFrame
_PING: Final = encode_frame(Ping()).decode()
_RETRYABLE_4XX: Final = frozenset({4408, 4429})
# The server is overloaded: an immediate retry would make it worse.
_BUSY: Final = frozenset({1013, 4429, 4503})


class Timing(NamedTuple):
    """Timeouts and delays, in seconds."""

    opening: float = 10.0
    """The time from opening a connection to its ``welcome`` frame."""
    answer: float = 3.0
    """The time for the server to answer a ping, or to close after its ``bye`` frame."""
    stable: float = 10.0
    """After this time, a connection counts as stable: the next drop starts the backoff again."""
    base: float = BASE
    cap: float = CAP


class Owner(Protocol):
    """Who uses the connection. Its methods must not block; only ``opening`` may wait."""

    async def opening(self) -> Opening:
        """What to ask the server for in the next attempt."""

    def received(self, frames: Sequence[Frame]) -> None:
        """Takes the frames of one message, in order. Raises SnapshotNeeded to reconnect."""

    def outgoing(self) -> Iterable[str]:
        """The texts to send now."""

    def dropped(self, code: int) -> None:
        """The connection ended with this close code, and a reconnect follows."""

    def changed(self, change: ConnectionChange) -> None:
        """The state of the connection changed."""

    def can_renew_token(self) -> bool:
        """Whether the next attempt may bring a new token."""


class AnnouncedClose(NamedTuple):
    """What the server said about the close before it closed: a ``bye`` or an ``error`` frame."""

    retryable: bool
    retry_after: float | None
    error: AgentwsError
    certain: bool
    """Whether the close is certain to follow, as after ``bye``."""


class Connection:
    """Runs until it is cancelled, or until a close after which a reconnect would not help."""

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
        self._announced: AnnouncedClose | None = None

    def ring(self) -> None:
        """Wakes the writer: there may be something to send."""
        self._wake.set()

    async def run(self) -> None:
        """Connects again and again. Raises the AgentwsError after which it gives up."""
        while True:
            self._welcomed_at, self._heartbeat, self._announced = None, None, None
            closed = await self._connect_once()
            if not self._may_retry(closed):
                raise self._error(closed) from closed
            self._owner.dropped(closed.code)
            delay = self._delay(closed)
            why = str(self._error(closed)) if self._announced else closed.reason
            self._owner.changed(ConnectionChange("reconnecting", delay, why))
            await asyncio.sleep(delay)

    # One connection

    async def _connect_once(self) -> TransportClosed:
        """Opens a connection and uses it until it ends. Returns how it ended."""
        transport: Transport | None = None
        try:
            async with asyncio.timeout(self._timing.opening) as deadline:
                transport = await self._open_transport(await self._owner.opening())
                await self._receive(transport)
                while self._welcomed_at is None:
                    await self._receive(transport)
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
            return await self._exchange(transport)
        finally:
            await _close(transport)

    async def _exchange(self, transport: Transport) -> TransportClosed:
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write(transport), name="agentws chat writer")
            try:
                return await self._read(transport)
            finally:
                writer.cancel()

    async def _read(self, transport: Transport) -> TransportClosed:
        """Reads until the connection ends. Only reading decides that it has ended: a failed write
        may come before the last messages are read."""
        try:
            while True:
                try:
                    async with asyncio.timeout(self._read_timeout()):
                        await self._receive(transport)
                except TimeoutError:
                    if self._announced is not None and self._announced.certain:
                        raise
                    await self._probe(transport)
        except TransportClosed as closed:
            return closed
        except TimeoutError:
            return TransportClosed(1006, "The server did not answer a ping in time.")
        except SnapshotNeeded as needed:
            return TransportClosed(1006, str(needed))

    def _read_timeout(self) -> float | None:
        """Seconds without a message after which the connection may be half-open."""
        return self._timing.answer if self._announced is not None else self._heartbeat

    async def _probe(self, transport: Transport) -> None:
        """Sends a ping. Raises TimeoutError when nothing comes back: a half-open connection."""
        self._ping_due = True
        self._wake.set()
        async with asyncio.timeout(self._timing.answer):
            await self._receive(transport)

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

    async def _receive(self, transport: Transport) -> None:
        message = await transport.recv()
        try:
            frames = [frame for frame in decode_server_message(message) if frame is not None]
            for frame in frames:
                self._inspect(frame)
            self._owner.received(frames)
        except (msgspec.MsgspecError, UnicodeError, RecursionError, BadRequest) as error:
            why = "The server sent a message that is not a valid frame."
            raise TransportClosed(4500, why, retryable=False) from error

    def _inspect(self, frame: Frame) -> None:
        """Remembers what a frame says about the connection itself."""
        match frame:
            case Welcome():
                self._heartbeat = frame.heartbeat
                self._welcomed_at = asyncio.get_running_loop().time()
                self._owner.changed(ConnectionChange("open"))
            case Bye():
                error = closed_with(frame.code, frame.reason, frame.message)
                self._announced = AnnouncedClose(frame.retryable, frame.retry_after, error, True)
            case Error(reply=None):
                self._announced = AnnouncedClose(
                    frame.retryable, frame.retry_after, refusal(frame), False
                )
            case _:
                self._announced = None

    # Whether and when to reconnect

    def _may_retry(self, closed: TransportClosed) -> bool:
        expired = closed.code == 4401 and self._welcomed_at is not None
        if expired and self._owner.can_renew_token():
            return True
        if self._announced is not None:
            return self._announced.retryable
        if closed.retryable is not None:
            return closed.retryable
        if closed.code == 1008:
            return False
        return not 4400 <= closed.code < 4500 or closed.code in _RETRYABLE_4XX

    def _error(self, closed: TransportClosed) -> AgentwsError:
        return self._announced.error if self._announced else closed_with(closed.code, closed.reason)

    def _delay(self, closed: TransportClosed) -> float:
        stable = self._timing.stable
        since = self._welcomed_at
        if since is not None and asyncio.get_running_loop().time() - since >= stable:
            self._attempt = 0
        hint = (self._announced.retry_after if self._announced else closed.retry_after) or 0.0
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
