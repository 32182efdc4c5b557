"""How the Redis store reaches its server: addresses, connections, and the checks at the start."""

from __future__ import annotations

import logging
from typing import Final

from ..errors import Misconfigured, Unavailable
from ..protocol.frames import Durability
from . import redis_checks as checks
from .redis_link import Link, Wait
from .redis_pool import check_namespace, place_of, pool_of

logger: Final = logging.getLogger("agentws")

LAYOUT: Final = "1"
"""The version of the keys and their contents."""


class Servers:
    """The connections of one store: one for what is written, one for what is only read.

    So a read never waits for the durability of a write.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str,
        durability: Durability,
        replicas: int,
        timeout: float,
        confirmation: float,
    ) -> None:
        self.url = url
        self.namespace = check_namespace(namespace)
        self.timeout = timeout
        self.prefix: Final = "{" + namespace + ":0}:"
        self._durability = durability
        self._replicas = replicas
        self._confirmation = confirmation
        self._pool = pool_of(url, socket_connect_timeout=timeout)
        self.reader = Link(self._pool, timeout=timeout)
        self.writer = Link(self._pool, timeout=timeout)
        self._is_open = False

    def __repr__(self) -> str:
        return f"{place_of(self.url)} {self.namespace}"

    async def open(self) -> None:
        if self._is_open:
            return
        self._is_open = True
        self.reader.open()
        try:
            facts = await self._facts()
            checks.check(facts, self._durability, self._replicas)
            if facts.eviction.startswith("volatile-"):
                logger.warning(
                    "the Redis server evicts leases when its memory is full (%s), which ends runs; "
                    "expected maxmemory-policy noeviction",
                    facts.eviction,
                )
            await self._check_layout()
        except BaseException:
            await self.close()
            raise
        self.writer = Link(self._pool, timeout=self.timeout, wait=self._wait(facts))
        self.writer.open()

    async def close(self) -> None:
        self._is_open = False
        await self.writer.close()
        await self.reader.close()

    async def available_durability(self) -> Durability:
        return checks.available(await self._facts(), self._durability, self._replicas)

    async def _facts(self) -> checks.ServerFacts:
        [info] = await self.reader.call(("INFO",))
        fsync: str | None = None
        if self._durability == "disk":
            fsync = await self._fsync()
        return checks.facts_of(checks.parse_info(info.decode()), fsync)

    async def _fsync(self) -> str | None:
        try:
            [found] = await self.reader.call(("CONFIG", "GET", "appendfsync"))
        except Unavailable:
            # Managed servers refuse CONFIG. If the server is away, the next call says so.
            return None
        return found[1].decode() if len(found) == 2 else None

    async def _check_layout(self) -> None:
        key = f"{self.prefix}layout"
        _, found = await self.reader.call(("SET", key, LAYOUT, "NX"), ("GET", key))
        if found.decode() != LAYOUT:
            raise Misconfigured(
                f"The sessions in Redis have layout {found.decode()}.",
                expected=f"layout {LAYOUT}; they were written by another version of agentws",
            )

    def _wait(self, facts: checks.ServerFacts) -> Wait | None:
        milliseconds = int(self._confirmation * 1000)
        if self._durability == "replicated":
            command = ("WAIT", self._replicas, milliseconds)
            return Wait(
                command,
                least=[self._replicas],
                unmet="The append was not replicated in time. It may have been made.",
            )
        if self._durability == "disk" and facts.fsync != "always":
            return Wait(
                ("WAITAOF", 1, 0, milliseconds),
                least=[1, 0],
                unmet="The append was not written to disk in time. It may have been made.",
            )
        return None
