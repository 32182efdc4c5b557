"""How long a cancel takes while a hundred runs stream, relative to an idle node."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Any, Final

from ..scale import Scale
from ..servers.clients import Client, GatewayClient, connect
from ..servers.process import ServerProcess
from ..servers.variants import PACE

UNTIL_CANCELLED: Final = f"paced:{10**9}"
"""Work that goes on until it is cancelled."""


class CancellingClient(GatewayClient):
    """Asks for an answer that does not end, and cancels it."""

    def __init__(self) -> None:
        super().__init__()
        self._acknowledged_at = self._ended_at = 0.0

    async def cancel(self, after: float) -> tuple[float, float]:
        """Cancels a run ``after`` seconds of its answer.

        Returns the seconds from the cancel to its acknowledgement, and to the end of the run.
        """
        self.ask(UNTIL_CANCELLED, 1)
        await self.answer()
        await asyncio.sleep(after)
        self.expect(0)
        self.send(b'{"type":"cancel","id":"c%d"}' % self._sent)
        asked = time.perf_counter()
        await self.answer()
        return self._acknowledged_at - asked, self._ended_at - asked

    def accepted(self, frame: dict[str, Any]) -> None:
        super().accepted(frame)
        if frame["reply"].startswith("c"):
            self._acknowledged_at = time.perf_counter()

    def _event(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "TEXT_MESSAGE_CONTENT" if self._missing:
                self._missing = 0
                self._finish(self._answered)
            case "RUN_FINISHED" if event["outcome"]["type"] == "cancelled":
                self._ended_at = time.perf_counter()
                self._finish(self._answered)
            case "RUN_FINISHED" | "RUN_ERROR":
                raise RuntimeError(str(event))


async def _cancels(client: CancellingClient, count: int) -> tuple[float, float]:
    """The median seconds of ``count`` cancels to the acknowledgement, and to the end."""
    # At different times within the window in which deltas are coalesced.
    found = [await client.cancel(PACE * (number % 10) / 2) for number in range(-2, count)]
    acknowledged, ended = zip(*found[2:], strict=True)
    return median(acknowledged), median(ended)


async def _streaming(server: ServerProcess, runs: int) -> list[Client]:
    clients = await connect(server.variant, server.port, runs)
    for each in clients:
        each.ask(UNTIL_CANCELLED, 1 << 60)
    await asyncio.sleep(1.0)
    return clients


async def _busy_against_idle(server: ServerProcess, scale: Scale) -> tuple[float, float]:
    client = CancellingClient()
    await client.open(server.port)
    idle = await _cancels(client, scale.stops)
    streaming = await _streaming(server, scale.runs)
    busy = await _cancels(client, scale.stops)
    for each in (client, *streaming):
        await each.drop()
    return busy[0] / idle[0], busy[1] / idle[1]


async def acknowledged(server: ServerProcess, scale: Scale) -> float:
    """The time until the cancel is in the log and acknowledged."""
    return (await _busy_against_idle(server, scale))[0]


async def ended(server: ServerProcess, scale: Scale) -> float:
    """The time until the terminal event of the cancelled run."""
    return (await _busy_against_idle(server, scale))[1]
