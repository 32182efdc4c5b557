"""Publishes on the sharded channels of a cluster, each at the server that has its slot."""

from __future__ import annotations

import asyncio
import logging
from itertools import takewhile
from typing import Final

from .channels import shard_of
from .cluster import Cluster
from .errors import Unreached
from .pool import Command
from .publisher import PAUSE

logger: Final = logging.getLogger("agentws")

MOST: Final = 2_000
"""Messages of one shard that wait for its server. More are lost, as if it was away for longer."""


class ShardPublisher:
    """Sends what was published in one pass of the event loop, or meanwhile, together.

    The server replies to each message. One for a slot that has moved is sent again to the other
    server, and one that was not sent waits for the server: those who listen at a new primary may
    have been told of a gap before that. A message of which it is not known whether it has arrived
    is lost. The messages of a channel keep their order.
    """

    def __init__(self, cluster: Cluster, *, timeout: float) -> None:
        self._cluster = cluster
        self._timeout = timeout
        self._waiting: dict[str, list[Command]] = {}
        """By shard, for each that has a task."""
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, channel: str, payload: bytes) -> None:
        shard = shard_of(channel)
        command = ("SPUBLISH", channel, payload)
        waiting = self._waiting.get(shard)
        if waiting is not None:
            if len(waiting) < MOST:
                waiting.append(command)
            return
        self._waiting[shard] = [command]
        task = asyncio.create_task(self._serve(shard), name="agentws-redis-publisher")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def check(self, channel: str) -> None:
        """Raises what keeps this user from publishing."""
        await self._cluster.call(shard_of(channel), (("SPUBLISH", channel, b""),))

    async def close(self) -> None:
        """Sends what waits, as far as it can be sent in time."""
        tasks = list(self._tasks)
        if not tasks:
            return
        await asyncio.wait(tasks, timeout=self._timeout)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _serve(self, shard: str) -> None:
        """Sends the messages of one shard, until none waits."""
        # Messages of the same pass of the event loop go together, also with eager tasks.
        await asyncio.sleep(0)
        most = MOST
        while waiting := self._waiting[shard]:
            commands, self._waiting[shard] = waiting[:most], waiting[most:]
            left = await self._publish(shard, commands)
            self._waiting[shard][:0] = left
            # While the server is away, one message finds out for all.
            most = 1 if left else MOST
            if left:
                await asyncio.sleep(PAUSE)
        del self._waiting[shard]

    async def _publish(self, shard: str, commands: list[Command]) -> list[Command]:
        """Returns what is to be sent later: those at the end that were not sent."""
        # One call for each: of several in one, those before the first that was moved would be
        # sent twice.
        calls = [self._cluster.call(shard, (command,), again=False) for command in commands]
        results = await asyncio.gather(*calls, return_exceptions=True)
        unsent = takewhile(lambda result: isinstance(result, Unreached), reversed(results))
        done = len(results) - sum(1 for _ in unsent)
        lost = [result for result in results[:done] if isinstance(result, BaseException)]
        if lost:
            logger.info("%d messages to other nodes were lost: %r", len(lost), lost[0])
        return commands[done:]
