"""The addresses of both ends of a connection, in the form of the ASGI scope."""

from __future__ import annotations

import asyncio

Address = tuple[str, int | None]


class ClientDisconnected(OSError):
    """The application has sent something to a peer that is gone."""


def remote_address(transport: asyncio.BaseTransport) -> tuple[str, int] | None:
    """The peer's address; `None` for a UNIX socket, or a peer that is gone already."""
    name = transport.get_extra_info("peername")
    if not isinstance(name, tuple | list) or len(name) < 2:
        return None
    return str(name[0]), int(name[1])


def local_address(transport: asyncio.BaseTransport) -> Address | None:
    """The server's address; that of a UNIX socket is its path and `None`."""
    name = transport.get_extra_info("sockname")
    if isinstance(name, str):
        return name, None
    if not isinstance(name, tuple | list) or len(name) < 2:
        return None
    return str(name[0]), int(name[1])
