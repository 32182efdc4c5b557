"""Keepalive: one timer that pings all open connections and drops the half-open ones.

A connection is half-open when its peer has vanished without a close (a lost network, a dead
machine). It answers no ping. It is dropped after `ws_ping_interval` plus `ws_ping_timeout` seconds
(20 and 20 by default), at most one sweep late.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

# Connections visited before the event loop gets its turn: a sweep over many thousand connections
# must not delay the messages of others.
_SLICE = 128
# The longest time between two sweeps, in seconds.
_MAX_TICK = 5.0


class Pingable(Protocol):
    """A connection as the sweep sees it."""

    def keep_alive(
        self, now: float, interval: float, timeout: float | None, payload: bytes, /
    ) -> None:
        """Ping if it is due; drop the connection if its last ping was not answered in time."""


class KeepaliveSweep:
    """Visits every open connection a few times per ping interval.

    One timer for all: a timer for each connection would cost each of them memory. `interval` is
    `None` if keepalive is off; `timeout` is `None` if missing pongs are tolerated.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, interval: float | None, timeout: float | None
    ) -> None:
        self._loop = loop
        self._interval = interval or None
        self._timeout = timeout
        self._open: set[Pingable] = set()
        # True while a sweep is running or scheduled: then no second one may be scheduled.
        self._active = False

    def add(self, connection: Pingable) -> None:
        """Visit this connection from now on."""
        if self._interval is None:
            return
        self._open.add(connection)
        if not self._active:
            self._schedule(self._interval)

    def discard(self, connection: Pingable) -> None:
        """Visit it no more; does nothing when it was never added."""
        self._open.discard(connection)

    def _schedule(self, interval: float) -> None:
        self._active = True
        tick = min(interval, self._timeout or interval) / 4
        self._loop.call_later(min(tick, _MAX_TICK), self._sweep, interval)

    def _sweep(self, interval: float) -> None:
        self._sweep_slice(iter(tuple(self._open)), interval, os.urandom(4))

    def _sweep_slice(self, rest: Iterator[Pingable], interval: float, payload: bytes) -> None:
        now = self._loop.time()
        connection = None
        for connection in islice(rest, _SLICE):
            connection.keep_alive(now, interval, self._timeout, payload)
        if connection is not None:
            self._loop.call_soon(self._sweep_slice, rest, interval, payload)
        elif self._open:
            self._schedule(interval)
        else:
            self._active = False
