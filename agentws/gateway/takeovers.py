"""Tells other nodes that leases were released, so that they take the sessions over at once.

They would find these sessions by themselves, with their next scan for orphaned runs. The message
has the releasing node only: what is free is decided by the store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from ..bus import Bus
from ..errors import AgentwsError
from ..runs.engine import Runs
from ..tasks.tasks import Tasks

logger: Final = logging.getLogger("agentws")

CHANNEL: Final = "released"
"""The bus channel. A message is the id of the node that has released leases."""


class Takeovers:
    """Rings the other nodes, and scans for sessions without a lease when one of them rings."""

    def __init__(self, *, bus: Bus, runs: Runs, tasks: Tasks, node: str) -> None:
        self._bus = bus
        self._runs = runs
        self._tasks = tasks
        self._node: Final = node.encode()
        self._scanning = False
        self._rung = False
        self._unsubscribe: Callable[[], None] = lambda: None

    def subscribe(self) -> None:
        """Begins to listen to the other nodes."""
        self._unsubscribe = self._bus.subscribe(CHANNEL, self._received)

    def unsubscribe(self) -> None:
        self._unsubscribe()

    def ring(self) -> None:
        """Tells the other nodes that leases were released here."""
        self._bus.publish(CHANNEL, self._node)

    def _received(self, channel: str, payload: bytes) -> None:
        if payload == self._node:
            return
        self._rung = True
        if not self._scanning:
            self._scanning = True
            self._tasks.spawn(self._scan(), name="taking over")

    async def _scan(self) -> None:
        """Scans the store, and once more for any number of rings that come meanwhile."""
        try:
            while self._rung:
                self._rung = False
                await self._runs.sweep()
                await self._runs.recover()
        except AgentwsError as error:
            logger.info("nothing was taken over: %s", error)
        finally:
            self._scanning = False
