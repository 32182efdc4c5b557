"""The local sockets (AF_UNIX) beside an SQLite file: their names, and what is sent through them.

A message is a header with two lengths in network byte order (2 bytes: channel, 4 bytes: payload),
the channel in UTF-8 and the payload.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import secrets
import socket
import struct
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Final

logger: Final = logging.getLogger("agentws")

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of the largest payload."""
BACKLOG: Final = 1024 * 1024
"""Bytes that wait for one slow process before messages to it are dropped."""
_READ: Final = 64 * 1024
_HEADER: Final = struct.Struct("!HI")
_NAME: Final = re.compile(r"[0-9a-f]{16}")
_LONGEST_ADDRESS: Final = 103
"""Bytes of a socket's address: ``sun_path`` has 104 on macOS and 108 on Linux, with a zero byte."""
_WAITING: Final = 1024
"""Connections that wait to be accepted: more than workers of one host that start together."""
_STARTING: Final = 10.0
"""Seconds in which a socket that refuses connections may belong to a process that just starts."""
_TRANSIENT: Final = frozenset(
    {errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
)
"""Transient errors of connecting: no free descriptors, or the other process accepts too slowly."""
_AGAIN: Final = (BlockingIOError, InterruptedError)


class SocketFiles:
    """This process's listening socket, and the socket files of the others that share a database.

    They are beside the database, named ``chat.sqlite3-bell-<16 hex digits>``: a process that can
    share the database finds them. Only users who may write to the database may write to the socket:
    a message could forge a broadcast. This process's own file is removed by :meth:`close`, or at
    the latest when the process exits normally.
    """

    def __init__(self, database: str) -> None:
        """Binds and listens. Raises OSError if no socket is possible."""
        self._database = os.path.realpath(database)
        folder, base = os.path.split(self._database)
        self._folder = folder
        self._prefix = f"{base}-bell-"
        self._folder_descriptor: int | None = None
        self._resources = ExitStack()
        self._release = weakref.finalize(self, self._resources.close)
        self.own: Final = secrets.token_hex(8)
        try:
            self.listening: Final = self._listen()
        except BaseException:
            self._release()
            raise

    def _listen(self) -> socket.socket:
        sock = self._resources.enter_context(_new_socket())
        sock.bind(self._address(self.own))
        self._resources.callback(_remove_if_owner, os.getpid(), self._path(self.own))
        # Before it listens, it refuses all connections, whatever the umask has allowed.
        _copy_permissions(self._database, self._path(self.own))
        sock.listen(_WAITING)
        return sock

    def others(self) -> list[str]:
        """The names of all other sockets; some may belong to processes that were killed."""
        ours = (entry for entry in os.listdir(self._folder) if entry.startswith(self._prefix))
        names = (entry.removeprefix(self._prefix) for entry in ours)
        return [name for name in names if self.is_other(name)]

    def is_other(self, name: str) -> bool:
        return bool(_NAME.fullmatch(name)) and name != self.own

    def connect(self, name: str) -> socket.socket | None:
        """A connection to another process; ``None`` if it does not listen any more.

        ``None`` also for a socket whose owner may not read the database: messages contain ids of
        sessions. Raises OSError if a later try may succeed.
        """
        try:
            if _may_read(os.stat(self._database), os.lstat(self._path(name))):
                return self._connected(name)
        except ConnectionRefusedError:
            self._remove_stale(name)
        except PermissionError:
            logger.warning(
                "this process may not write to %s%s: the process that listens there finds "
                "changes only by polling, and broadcasts do not reach it",
                *(self._prefix, name),
            )
        except OSError as error:
            if error.errno in _TRANSIENT:
                raise
        return None

    def _connected(self, name: str) -> socket.socket:
        sock = _new_socket()
        try:
            sock.connect(self._address(name))
        except OSError:
            sock.close()
            raise
        return sock

    def _remove_stale(self, name: str) -> None:
        """Removes the socket of a killed process. A new one also refuses until it listens."""
        path = self._path(name)
        with suppress(OSError):
            if time.time() - os.stat(path).st_mtime > _STARTING:
                os.unlink(path)

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, self._prefix + name)

    def _address(self, name: str) -> str:
        """The path, or a short one through the directory's descriptor, which Linux offers."""
        path = self._path(name)
        if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
            return path
        if self._folder_descriptor is None:
            self._folder_descriptor = os.open(self._folder, os.O_RDONLY)
            self._resources.callback(os.close, self._folder_descriptor)
        return f"/proc/self/fd/{self._folder_descriptor}/{self._prefix}{name}"

    def close(self) -> None:
        self._release()


def _new_socket() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def _copy_permissions(database: str, socket_file: str) -> None:
    """Gives the socket the database's group and mode, and its owner if this process may do so."""
    wanted = os.stat(database)
    mode = wanted.st_mode & 0o666
    try:
        os.chown(socket_file, wanted.st_uid if os.geteuid() == 0 else -1, wanted.st_gid)
    except OSError:
        # The socket has another group, which must not get the rights of the database's group.
        mode &= 0o606
    os.chmod(socket_file, mode)


def _may_read(database: os.stat_result, socket_file: os.stat_result) -> bool:
    """Whether the owner of the socket may read the database, as far as the files show it.

    Other users can create a socket too, if everyone may write to the directory, as in ``/tmp``.
    """
    if socket_file.st_uid in (0, os.geteuid(), database.st_uid):
        return True
    in_group = socket_file.st_gid == database.st_gid
    return bool(database.st_mode & (0o044 if in_group else 0o004))


def _remove_if_owner(process: int, path: str) -> None:
    """Removes the file in that process only, not in a forked child: the file is the parent's."""
    if os.getpid() == process:
        with suppress(OSError):
            os.unlink(path)


class Outgoing:
    """The connection on which this process writes to another one."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, ended: Callable[[], None]
    ) -> None:
        self._loop = loop
        self.socket = sock
        self._ended = ended
        self._backlog = bytearray()
        self._watched = False
        self._dropping = False

    @property
    def has_backlog(self) -> bool:
        return bool(self._backlog)

    def write(self, messages: bytes) -> None:
        """Sends whole messages, or keeps them until the kernel has room.

        They are dropped while the backlog is full: the other process is a slow consumer.
        """
        if len(self._backlog) > BACKLOG:
            if not self._dropping:
                self._dropping = True
                logger.warning(
                    "a process that shares the database reads too slowly: rings and broadcasts "
                    "to it are dropped"
                )
            return
        self._backlog += messages
        if not self._watched:
            self._send()

    def _send(self) -> None:
        try:
            sent = self.socket.send(self._backlog)
        except _AGAIN:
            sent = 0
        except OSError:
            self._ended()
            return
        del self._backlog[:sent]
        self._watch(bool(self._backlog))

    def _watch(self, wanted: bool) -> None:
        if wanted and not self._watched:
            self._loop.add_writer(self.socket, self._send)
        elif self._watched and not wanted:
            self._loop.remove_writer(self.socket)
            self._dropping = False
        self._watched = wanted

    def close(self) -> None:
        self._watch(False)
        self.socket.close()


class Incoming:
    """The connection on which another process writes to this one."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        deliver: Callable[[Incoming, str, bytes], None],
        ended: Callable[[Incoming], None],
    ) -> None:
        self._loop = loop
        self.socket = sock
        self._deliver = deliver
        self._ended = ended
        self._unread = bytearray()
        self.name: str | None = None
        """The name of the other process's own socket, once it has sent it."""
        sock.setblocking(False)
        loop.add_reader(sock, self._read)

    def _read(self) -> None:
        try:
            data = self.socket.recv(_READ)
        except _AGAIN:
            return
        except OSError:
            data = b""
        if not data:
            self._ended(self)
            return
        self._unread += data
        try:
            messages = split_messages(self._unread)
        except ValueError:
            logger.warning("a socket beside the database received what is not a message")
            self._ended(self)
            return
        for channel, payload in messages:
            self._deliver(self, channel, payload)

    def close(self) -> None:
        self._loop.remove_reader(self.socket)
        self.socket.close()


def encode_message(channel: str, payload: bytes) -> bytes:
    name = channel.encode()
    return b"%b%b%b" % (_HEADER.pack(len(name), len(payload)), name, payload)


def split_messages(received: bytearray) -> list[tuple[str, bytes]]:
    """Removes all complete messages from the beginning of ``received`` and returns them.

    Raises ValueError for bytes that are not a message.
    """
    messages: list[tuple[str, bytes]] = []
    start = 0
    while len(received) - start >= _HEADER.size:
        channel_length, payload_length = _HEADER.unpack_from(received, start)
        if payload_length > LARGEST:
            raise ValueError("the payload is too large")
        channel_start = start + _HEADER.size
        payload_start = channel_start + channel_length
        end = payload_start + payload_length
        if end > len(received):
            break
        channel = received[channel_start:payload_start].decode()
        messages.append((channel, bytes(received[payload_start:end])))
        start = end
    del received[:start]
    return messages
