"""Where a server listens: every address of the host that was asked for."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Final, NamedTuple

from .problem import Problem

BACKLOG: Final = 2048
_TRIES: Final = 20
"""How often a free port is looked for that all addresses have."""
_ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""What binding says of an address that this machine does not have, as IPv6 where that is off."""
_LOCALHOST: Final = ("127.0.0.1", "::1")
"""What browsers take ``localhost`` for, whatever this machine's own table says."""


class Place(NamedTuple):
    """One address to listen on."""

    family: socket.AddressFamily
    address: str
    both: bool = False
    """Whether IPv4 comes in there too."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of ``host``, all on one port; raises Problem.

    Bound here, so that its failure is one line. Addresses that this machine does not have are left
    out as long as there is another.
    """
    places = _places(host)
    for last in (*[False] * (_TRIES - 1), True):
        try:
            return _bound(places, port)
        except OSError as error:
            if last or port or error.errno != errno.EADDRINUSE:
                raise _problem(error, host, port) from error
    raise AssertionError


def described(listeners: Iterable[socket.socket]) -> list[str]:
    """What each of them listens on, as in ``[::1]:8000``."""
    return [_described(listener) for listener in listeners]


def _places(host: str) -> list[Place]:
    name = host.strip("[]")
    try:
        names = _LOCALHOST if name.lower() == "localhost" else (name,)
        found = [
            Place(family, str(address[0]))
            for one in names
            for family, _, _, _, address in socket.getaddrinfo(
                one, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        ]
    except (socket.gaierror, UnicodeError) as error:
        why = error.strerror if isinstance(error, socket.gaierror) else error
        raise Problem(f"{host!r} is no address of this machine: {why}") from error
    both = socket.has_dualstack_ipv6()
    return [one._replace(both=both) if one.address == "::" else one for one in dict.fromkeys(found)]


def _bound(places: Iterable[Place], port: int) -> list[socket.socket]:
    """Raises OSError, leaving none open, unless every place that there is was free."""
    bound: list[socket.socket] = []
    absent: OSError | None = None
    with ExitStack() as opened:
        for place in places:
            try:
                listener = socket.create_server(
                    (place.address, port),
                    family=place.family,
                    backlog=BACKLOG,
                    dualstack_ipv6=place.both,
                )
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
                continue
            bound.append(opened.enter_context(listener))
            listener.set_inheritable(True)
            # A free port was taken for the first: the others have the same.
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
    return Problem(f"can't listen on {shown}:{port}: {why}{hint}")


def _described(listener: socket.socket) -> str:
    address, port = listener.getsockname()[:2]
    if listener.family != socket.AF_INET6:
        return f"{address}:{port}"
    both = address == "::" and not listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    return f"[{address}]:{port}" + (" (IPv6 and IPv4)" if both else "")
