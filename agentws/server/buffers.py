"""Bounds what the operating system keeps for a connection."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Protocol

from .limits import ServerLimits


class Socket(Protocol):
    """A socket, or what an event loop offers in its place."""

    @property
    def family(self) -> int: ...

    def setsockopt(self, level: int, name: int, value: int, /) -> None: ...


def limit_buffers(one: Socket, limits: ServerLimits) -> None:
    """Bound the buffers of a socket; those of a listener are inherited by its connections.

    The time that unread data may wait is bounded too, where the system can (TCP_USER_TIMEOUT).
    """
    options = [
        (socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer),
        (socket.SOL_SOCKET, socket.SO_RCVBUF, limits.receive_buffer),
    ]
    if one.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = round(limits.write_timeout * 1000)
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds))
    for option in options:
        # A system that refuses one serves all the same.
        with suppress(OSError):
            one.setsockopt(*option)
