"""One Redis server as the store uses it: a connection to write, one to read, and its checks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

from ...errors import Unavailable
from ...protocol.frames import Durability
from . import checks, lease_scripts, scripts
from .link import Link, Wait
from .pool import Address, pool_of
from .script import Script

logger: Final = logging.getLogger("agentws")

_SCRIPTS: Final = (*scripts.ALL, *lease_scripts.ALL)


class Promise(NamedTuple):
    """The durability that a store promises, see :class:`RedisStore`."""

    durability: Durability
    replicas: int
    confirmation: float


class RedisNode:
    """The connections to one server: a read never waits for the durability of a write.

    ``scripts``: what its connections load.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        address: Address | None = None,
        scripts: Sequence[Script] = _SCRIPTS,
    ) -> None:
        self._pool = pool_of(url, address=address, socket_connect_timeout=timeout)
        self._timeout = timeout
        self._scripts = scripts
        self.reader = self._link()
        self.writer = self._link()

    @property
    def host(self) -> str:
        return str(self._pool.connection_kwargs.get("host", "localhost"))

    def _link(self, wait: Wait | None = None) -> Link:
        return Link(self._pool, timeout=self._timeout, scripts=self._scripts, wait=wait)

    def attach(self) -> None:
        """Opens :attr:`reader` alone, without checks: a bus needs no more."""
        self.reader.open()

    async def open(self, promise: Promise) -> checks.ServerFacts:
        """Connects, and refuses a server that does not keep what the store promises."""
        self.reader.open()
        try:
            facts = await self.facts(promise)
            checks.check(facts, promise.durability, promise.replicas)
        except BaseException:
            await self.close()
            raise
        if facts.eviction.startswith("volatile-"):
            logger.warning(
                "the Redis server evicts leases when its memory is full (%s), which ends runs; "
                "expected maxmemory-policy noeviction",
                facts.eviction,
            )
        self.writer = self._link(_wait(promise, facts))
        self.writer.open()
        return facts

    async def close(self) -> None:
        await self.writer.close()
        await self.reader.close()

    async def facts(self, promise: Promise) -> checks.ServerFacts:
        [info] = await self.reader.call(("INFO",))
        fsync = await self._fsync() if promise.durability == "disk" else None
        return checks.facts_of(checks.parse_info(info.decode()), fsync)

    async def _fsync(self) -> str | None:
        try:
            [found] = await self.reader.call(("CONFIG", "GET", "appendfsync"))
        except Unavailable:
            # Managed servers refuse CONFIG. If the server is away, the next call says so.
            return None
        return found[1].decode() if len(found) == 2 else None

    async def available(self, promise: Promise) -> Durability:
        """The durability that an append meets now."""
        facts = await self.facts(promise)
        return checks.available(facts, promise.durability, promise.replicas)


def _wait(promise: Promise, facts: checks.ServerFacts) -> Wait | None:
    milliseconds = int(promise.confirmation * 1000)
    if promise.durability == "replicated":
        return Wait(
            ("WAIT", promise.replicas, milliseconds),
            least=[promise.replicas],
            unmet="The append was not replicated in time. It may have been made.",
        )
    if promise.durability == "disk" and facts.fsync != "always":
        return Wait(
            ("WAITAOF", 1, 0, milliseconds),
            least=[1, 0],
            unmet="The append was not written to disk in time. It may have been made.",
        )
    return None
