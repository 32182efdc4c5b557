"""Bounds what the operating system keeps for a connection, and for how long."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from contextlib import suppress
from typing import Final, Protocol

from .limits import ServerLimits

# On Windows the two numbers are short.
_NO_LINGER: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class Socket(Protocol):
    """A socket, or what an event loop offers in its place."""

    @property
    def family(self) -> int: ...

    def setsockopt(self, level: int, name: int, value: int, /) -> None: ...


def limit_buffers(one: Socket, limits: ServerLimits) -> None:
    """Bound the buffers of a socket; those of a listener are inherited by its connections.

    The time that unread data may wait is bounded too, where the system can (TCP_USER_TIMEOUT). What
    is written is sent at once (TCP_NODELAY): else each small message waits until the peer has
    acknowledged the one before, 40 ms and more. asyncio sets that only for sockets that it made.
    """
    options = [
        (socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer),
        (socket.SOL_SOCKET, socket.SO_RCVBUF, limits.receive_buffer),
    ]
    if one.family in (socket.AF_INET, socket.AF_INET6):
        options.append((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1))
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = round(limits.write_timeout * 1000)
            options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds))
    for option in options:
        # If the system refuses one of them, the connection works without it.
        with suppress(OSError):
            one.setsockopt(*option)


def abort(transport: asyncio.Transport) -> None:
    """End a connection at once. If its peer does not read, free the system's buffers too.

    After a plain close the system may try for minutes to send what they hold.
    """
    if transport.get_write_buffer_size():
        one = transport.get_extra_info("socket")
        with suppress(OSError, AttributeError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
