"""A TCP load balancer in the test's own process, over nodes that come and go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

CHUNK = 64 * 1024


class Balancer:
    """Passes each connection to one of ``ports``, in random order; a refused one to the next."""

    def __init__(self, ports: Sequence[int], *, seed: int = 0) -> None:
        self.ports = list(ports)
        self.port = 0
        self._random = random.Random(seed)

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            node = await self._connect()
            if node is not None:
                await asyncio.gather(_copy(reader, node[1]), _copy(node[0], writer))
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for port in self._random.sample(self.ports, len(self.ports)):
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        return None


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def balancing(ports: Sequence[int], *, seed: int = 0) -> AsyncIterator[Balancer]:
    balancer = Balancer(ports, seed=seed)
    server = await asyncio.start_server(balancer.pass_on, "127.0.0.1", 0)
    balancer.port = server.sockets[0].getsockname()[1]
    try:
        yield balancer
    finally:
        server.close()
