"""The bus between the processes that share an SQLite file: local sockets (AF_UNIX) beside it.

Each process listens on one socket and writes to the sockets of all others. A process that starts
connects to those that are there and sends its name, so that they connect back. The kernel wakes a
process when there is something to read: a bus without messages costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ...bus import Bus, Listener, Subscriptions
from .sockets import LARGEST, Incoming, Outgoing, SocketFiles, encode_message

logger: Final = logging.getLogger("agentws")

_HELLO: Final = ""
"""The channel of the first message: a process sends the name of its own socket."""
_PAUSE: Final = 1.0
"""Seconds before another try after a transient failure, such as no free file descriptors."""
_LAST_WRITES: Final = 1.0
"""Seconds that closing waits for what other processes have not read yet."""


class SQLiteBus(Bus):
    """Reaches every process of the host whose bus has the same database ``path``.

    Where no socket is possible (no AF_UNIX, a directory that can't be written to, a name or, except
    on Linux, a path that is too long for a socket), the bus reaches its own process only. A warning
    says so, and the other processes find appends by polling.
    """

    scope = "host"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._subscriptions = Subscriptions()
        self._mesh: _Mesh | None = None

    def __repr__(self) -> str:
        return f"<SQLiteBus {os.path.basename(self._path)!r}>"

    async def open(self) -> None:
        if self._mesh is not None:
            return
        try:
            # In a thread, since the directory may be large or slow.
            files, others = await asyncio.to_thread(_begin, self._path)
        except (OSError, AttributeError) as error:
            logger.warning(
                "no socket is possible beside the database (%s): other processes that share it "
                "find changes only by polling, and broadcasts do not reach them",
                error,
            )
            return
        if self._mesh is not None:
            # It was opened twice at the same time.
            files.close()
            return
        self._mesh = _Mesh(files, self._subscriptions.deliver)
        for name in others:
            self._mesh.connect(name)

    async def close(self) -> None:
        mesh, self._mesh = self._mesh, None
        if mesh is not None:
            await mesh.close()

    def publish(self, channel: str, payload: bytes) -> None:
        self._subscriptions.deliver(channel, payload)
        if self._mesh is not None:
            self._mesh.publish(channel, payload)

    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        return self._subscriptions.add(channel, listener)


def _begin(path: str) -> tuple[SocketFiles, list[str]]:
    # Listen before listing: of two processes that start together, one is seen by the other.
    files = SocketFiles(path)
    return files, files.others()


class _Mesh:
    """The connections of one process with all others, on one event loop."""

    def __init__(self, files: SocketFiles, deliver: Callable[[str, bytes], None]) -> None:
        self._files = files
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self._outgoing: dict[str, Outgoing] = {}
        self._incoming: set[Incoming] = set()
        self._batch: list[bytes] = []
        """Messages published in this pass of the event loop: one write carries all of them."""
        self._retries: dict[str, asyncio.TimerHandle] = {}
        """Timers by the name of the process to connect to; this process's own name: to accept."""
        self._loop.add_reader(files.listening, self._accept)

    # Connecting

    def connect(self, name: str) -> None:
        """Connects to the process with that name, once."""
        if name in self._outgoing or not self._files.is_other(name):
            return
        try:
            sock = self._files.connect(name)
        except OSError:
            self._retry(name, lambda: self.connect(name))
            return
        if sock is None:
            return
        self._outgoing[name] = Outgoing(self._loop, sock, lambda: self._disconnect(name))
        self._outgoing[name].write(encode_message(_HELLO, self._files.own.encode()))

    def _disconnect(self, name: str) -> None:
        connection = self._outgoing.pop(name, None)
        if connection is not None:
            connection.close()

    def _accept(self) -> None:
        try:
            sock, _ = self._files.listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            # Otherwise it would fail again in every pass of the loop, at full load of a core.
            self._loop.remove_reader(self._files.listening)
            self._retry(self._files.own, self._accept_again)
            return
        self._incoming.add(Incoming(self._loop, sock, self._receive, self._end))

    def _accept_again(self) -> None:
        self._loop.add_reader(self._files.listening, self._accept)

    def _retry(self, name: str, action: Callable[[], None]) -> None:
        if name in self._retries:
            self._retries[name].cancel()
        self._retries[name] = self._loop.call_later(_PAUSE, action)

    def _end(self, connection: Incoming) -> None:
        """Ends the connection: the other process has closed its side, or was killed."""
        self._incoming.discard(connection)
        connection.close()
        if connection.name is not None:
            self._disconnect(connection.name)

    # Messages

    def publish(self, channel: str, payload: bytes) -> None:
        if not self._outgoing:
            return
        if len(payload) > LARGEST:
            logger.warning(
                "a message of %d bytes reaches no other process: expected at most %d bytes",
                *(len(payload), LARGEST),
            )
            return
        if not self._batch:
            # Raised if the event loop was closed: nothing can be written any more.
            with suppress(RuntimeError):
                self._loop.call_soon(self._write_batch)
        self._batch.append(encode_message(channel, payload))

    def _write_batch(self) -> None:
        batch = b"".join(self._batch)
        if not batch:
            return
        self._batch.clear()
        for connection in tuple(self._outgoing.values()):
            connection.write(batch)

    def _receive(self, connection: Incoming, channel: str, payload: bytes) -> None:
        if channel == _HELLO:
            connection.name = payload.decode("ascii", "replace")
            self.connect(connection.name)
        else:
            self._deliver(channel, payload)

    # Closing

    async def close(self) -> None:
        """Closes, after a moment in which slow processes may read what was published before."""
        try:
            if self._process == os.getpid() and self._loop is asyncio.get_running_loop():
                self._write_batch()
                await self._written()
        finally:
            self._close_now()

    def _close_now(self) -> None:
        if self._process == os.getpid() and not self._loop.is_closed():
            self._unwatch()
        for connection in self._connections():
            connection.socket.close()
        self._incoming.clear()
        self._outgoing.clear()
        self._files.close()

    def _connections(self) -> list[Incoming | Outgoing]:
        return [*self._incoming, *self._outgoing.values()]

    async def _written(self) -> None:
        end = self._loop.time() + _LAST_WRITES
        while self._loop.time() < end:
            if not any(connection.has_backlog for connection in self._outgoing.values()):
                return
            await asyncio.sleep(0.01)

    def _unwatch(self) -> None:
        """A forked child must not do this: it shares the selector of its parent's loop."""
        self._loop.remove_reader(self._files.listening)
        for retry in self._retries.values():
            retry.cancel()
        for connection in self._connections():
            connection.close()
