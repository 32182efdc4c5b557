"""Ports for servers that are told theirs when they start."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from functools import cache

PORTS = range(10_000, 22_768)
"""Below those that systems take for outgoing connections and for port 0, also when 10,000 is added
as a Redis Cluster does: no connection of another test gets one between its choice and its use.
"""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now, and hardly ever chosen by another process too."""
    for port in _candidates():
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("the candidates never end")


@cache
def _candidates() -> Iterator[int]:
    """Each process begins at another place, also if tests have seeded ``random``."""
    start = os.getpid() * 101 % len(PORTS)
    return itertools.cycle([*PORTS[start:], *PORTS[:start]])
