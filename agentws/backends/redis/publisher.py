"""Publishes messages on a connection of its own, to which the server does not reply."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from redis.asyncio.connection import AbstractConnection, ConnectionPool

from .pool import connected, disconnect, packer_of

logger: Final = logging.getLogger("agentws")

MOST: Final = 10_000
"""Messages that wait for the connection. More are lost, as if the server was away."""
PAUSE: Final = 0.5
"""Seconds before another try to connect."""


class Publisher:
    """Sends what was published in one pass of the event loop, or meanwhile, as one write.

    A message that can't be sent is lost. Without replies nothing tells a dead connection from an
    idle one, so a probe is published now and then, see :meth:`Subscriber.probe`.
    """

    def __init__(self, pool: ConnectionPool, *, probe: str, timeout: float) -> None:
        self._pool = pool
        self._pack = packer_of(pool)
        self._probe = probe
        self._timeout = timeout
        self._connection: AbstractConnection | None = None
        self._batch: list[bytes] = []
        self._idle: asyncio.Future[None] | None = None

    def send(self, channel: str, payload: bytes) -> None:
        if len(self._batch) < MOST:
            self._batch.append(self._pack(("PUBLISH", channel, payload)))
        idle, self._idle = self._idle, None
        if idle is not None and not idle.done():
            idle.set_result(None)

    async def run(self) -> None:
        """Sends until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._batch:
                self._idle = loop.create_future()
                await self._idle
            if not await self.flush():
                await asyncio.sleep(PAUSE)

    async def flush(self) -> bool:
        """Sends what waits to be sent; whether the server could be reached."""
        batch, self._batch = self._batch, []
        if not batch:
            # On Python 3.12 a transport that is given no bytes never closes.
            return True
        try:
            async with asyncio.timeout(self._timeout):
                connection = self._connection or await self.connect()
                await connection.send_packed_command(b"".join(batch), check_health=False)
        except Exception as error:
            logger.info("%d messages to other nodes were lost: %r", len(batch), error)
            await self.drop()
            return False
        return True

    async def connect(self) -> AbstractConnection:
        connection = await connected(self._pool)
        try:
            # With a reply, so that a user who may not publish is told.
            await connection.send_command("PUBLISH", self._probe, b"")
            await connection.read_response(disable_decoding=True)
            await connection.send_command("CLIENT", "REPLY", "OFF")
        except BaseException:
            await disconnect(connection)
            raise
        self._connection = connection
        return connection

    async def drop(self) -> None:
        connection, self._connection = self._connection, None
        await disconnect(connection)
