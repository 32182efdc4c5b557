"""How long a cancel takes while a hundred runs stream, against on a node that does nothing else."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from .load import Client, GatewayClient, connect
from .process import ServerProcess
from .words import PACE

if TYPE_CHECKING:
    from .workloads import Scale

ENDLESS: Final = f"paced:{10**9}"
"""Work that goes on until it is stopped."""


class StoppingClient(GatewayClient):
    """Asks for an answer without end and cancels it, again and again."""

    def __init__(self) -> None:
        super().__init__()
        self._acknowledged_at = self._ended_at = 0.0

    async def stop(self, after: float) -> tuple[float, float]:
        """Cancels a run ``after`` so many seconds of its answer.

        Returns the seconds from the cancel to its acknowledgement, and to the run's end.
        """
        self.ask(ENDLESS, 1)
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


async def _stops(client: StoppingClient, count: int) -> tuple[float, float]:
    """The medians of so many cancels: until the acknowledgement, and until the end."""
    # Spread over the time for which deltas gather.
    found = [await client.stop(PACE * (number % 10) / 2) for number in range(-2, count)]
    acknowledged, ended = zip(*found[2:], strict=True)
    return median(acknowledged), median(ended)


async def _streaming(server: ServerProcess, runs: int) -> list[Client]:
    clients = await connect(server.variant, server.port, runs)
    for each in clients:
        each.ask(ENDLESS, 1 << 60)
    await asyncio.sleep(1.0)
    return clients


async def _busy_against_idle(server: ServerProcess, scale: Scale) -> tuple[float, float]:
    client = StoppingClient()
    await client.open(server.port)
    idle = await _stops(client, scale.stops)
    streaming = await _streaming(server, scale.runs)
    busy = await _stops(client, scale.stops)
    for each in (client, *streaming):
        await each.drop()
    return busy[0] / idle[0], busy[1] / idle[1]


async def acknowledged(server: ServerProcess, scale: Scale) -> float:
    """Until the cancel is in the log and said to be accepted."""
    return (await _busy_against_idle(server, scale))[0]


async def ended(server: ServerProcess, scale: Scale) -> float:
    """Until the terminal event of the run that was cancelled."""
    return (await _busy_against_idle(server, scale))[1]
