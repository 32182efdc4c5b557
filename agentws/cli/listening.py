"""Listening sockets: one for every address of the host, all on one port."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Final, NamedTuple

from .problem import NOT_STARTED, Problem

BACKLOG: Final = 2048
_TRIES: Final = 20
"""How often to look for a port that is free on all addresses."""
_ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Errors for an address that this machine does not have, such as IPv6 if it is off."""
_LOCALHOST: Final = ("127.0.0.1", "::1")
"""What browsers resolve ``localhost`` to, whatever this machine's hosts file says."""


class Address(NamedTuple):
    """One address to listen on."""

    family: socket.AddressFamily
    host: str


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of ``host``, all on one port; raises Problem.

    Binding here reports a failure once and in one line. Addresses that this machine does not have
    are skipped, if there is another.
    """
    addresses = _addresses(host)
    for last in (*[False] * (_TRIES - 1), True):
        try:
            return _bound(addresses, port)
        except OSError as error:
            if last or port or error.errno != errno.EADDRINUSE:
                raise _problem(error, host, port) from error
    raise AssertionError


def described(listeners: Iterable[socket.socket]) -> list[str]:
    """The address of each socket, as in ``[::1]:8000``."""
    return [_described(listener) for listener in listeners]


def _addresses(host: str) -> list[Address]:
    name = host.strip("[]")
    try:
        names = _LOCALHOST if name.lower() == "localhost" else (name,)
        found = [
            Address(family, str(address[0]))
            for one in names
            for family, _, _, _, address in socket.getaddrinfo(
                one, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        ]
    except (socket.gaierror, UnicodeError) as error:
        why = error.strerror if isinstance(error, socket.gaierror) else error
        raise Problem(f"{host!r} is not an address of this machine: {why}") from error
    if any(one.host == "::" for one in found):
        # Not one socket of both families: that would show IPv4 clients as ``::ffff:127.0.0.1``,
        # which no setting for trusted proxies matches.
        found.append(Address(socket.AF_INET, "0.0.0.0"))
    return list(dict.fromkeys(found))


def _bound(addresses: Iterable[Address], port: int) -> list[socket.socket]:
    """Binds every address; raises OSError, and leaves no socket open, if one is in use."""
    bound: list[socket.socket] = []
    absent: OSError | None = None
    with ExitStack() as opened:
        for one in addresses:
            try:
                listener = socket.create_server(
                    (one.host, port), family=one.family, backlog=BACKLOG
                )
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
                continue
            bound.append(opened.enter_context(listener))
            # For clients that connect before the server limits its buffers, which sets this, too.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.set_inheritable(True)
            # Port 0 gave the first socket a free port: the others need the same.
            port = listener.getsockname()[1]
        if not bound and absent is not None:
            raise absent
        opened.pop_all()
    return bound


def _problem(error: OSError, host: str, port: int) -> Problem:
    why = os.strerror(error.errno) if error.errno else str(error)
    hint = f"; try --port {port + 1}" if error.errno == errno.EADDRINUSE else ""
    name = host.strip("[]")
    shown = f"[{name}]" if ":" in name else name
    return Problem(f"can't listen on {shown}:{port}: {why}{hint}", status=NOT_STARTED)


def _described(listener: socket.socket) -> str:
    address, port = listener.getsockname()[:2]
    return f"[{address}]:{port}" if listener.family == socket.AF_INET6 else f"{address}:{port}"
