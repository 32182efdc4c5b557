"""What several worker processes do on one host, against one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from .. import resources
from ..scale import Scale
from ..servers.clients import GatewayClient, drop, text_frame
from .cluster import Cluster
from .viewers import wait_for_nodes

CLIENTS = 50
WORKERS = 4


class _Asker(GatewayClient):
    """Asks again when an answer has ended, and looks at an answer only for its end.

    What the load costs is taken from the workers, so it costs little: its messages are encoded
    before, and none that it receives is decoded.
    """

    def __init__(self) -> None:
        super().__init__()
        self._frames: list[bytes] | None = None
        self._turns = 0

    async def take(self, turns: int) -> None:
        numbers = range(self._turns, self._turns + turns)
        self._turns += turns
        self._frames = [
            text_frame(b'{"type":"send","id":"m%d","content":"echo"}' % number)
            for number in numbers
        ]
        self._answered = asyncio.get_running_loop().create_future()
        self._ask()
        await self._answered

    def _ask(self) -> None:
        if self._frames:
            self.write(self._frames.pop())
        else:
            self._finish(self._answered)

    def message(self, payload: bytes) -> None:
        if self._frames is None:
            super().message(payload)
        elif b'"RUN_FINISHED"' in payload:
            self._ask()
        elif b'"RUN_ERROR"' in payload or b'"type":"error"' in payload:
            raise RuntimeError(payload.decode())


async def speedup(cluster: Cluster, scale: Scale) -> Sequence[float]:
    """Turns per second of one process, the ratio of four to it, and what the load used.

    The load is not pinned: with four workers it takes its share of the cores that they run on.
    """
    with resources.unpinned(cluster.cores):
        one, _ = await _turns_per_second(cluster, scale, 1)
        four, load = await _turns_per_second(cluster, scale, WORKERS)
    return one, four / one, load * 100


async def _turns_per_second(cluster: Cluster, scale: Scale, workers: int) -> tuple[float, float]:
    """Also the share of all cores that this process used."""
    async with cluster.node(workers=workers, cores=cluster.cores) as node:
        await wait_for_nodes(node, workers)
        clients = [_Asker() for _ in range(CLIENTS)]
        for each in clients:
            # One after the other: of many at once, the first worker that wakes accepts most.
            await each.open(node.port)
        await _take_turns(clients, scale.turns // 4)
        began, used = time.perf_counter(), time.process_time()
        await _take_turns(clients, scale.turns)
        took, used = time.perf_counter() - began, time.process_time() - used
        await drop(clients)
    return scale.turns // CLIENTS * CLIENTS / took, used / took / len(cluster.cores)


async def _take_turns(clients: Sequence[_Asker], count: int) -> None:
    await asyncio.gather(*(each.take(count // len(clients)) for each in clients))
