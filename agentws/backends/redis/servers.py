"""Where the Redis store keeps a session: on its one server, or on one of a cluster's."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any, Final

from ...errors import Misconfigured
from ...protocol.frames import Durability
from .cluster import Cluster, prefix_of, prefixes_of
from .node import Promise, RedisNode
from .pool import Address, check_namespace, place_of
from .script import Script

LAYOUT: Final = "1"
"""The version of the keys and their contents."""


class Servers:
    """The servers of one store. All keys of a session begin with the prefix of its shard."""

    def __init__(self, url: str, *, namespace: str, timeout: float, promise: Promise) -> None:
        self.url = url
        self.namespace = check_namespace(namespace)
        self.timeout = timeout
        self._promise = promise
        self._node = RedisNode(url, timeout=timeout)
        self._cluster: Cluster | None = None
        self.prefixes = prefixes_of(self.namespace, 1)
        """The prefixes of all shards; the first one is also that of the nodes' entries."""
        self._is_open = False

    def __repr__(self) -> str:
        return f"{place_of(self.url)} {self.namespace}"

    @property
    def is_cluster(self) -> bool:
        return self._cluster is not None

    async def open(self) -> None:
        if self._is_open:
            return
        self._is_open = True
        try:
            facts = await self._node.open(self._promise)
            if facts.in_cluster:
                cluster = Cluster(self._connected, timeout=self.timeout)
                await cluster.open(self._node)
                self._cluster, self.prefixes = cluster, prefixes_of(self.namespace)
            await self._check_layout()
        except BaseException:
            await self.close()
            raise

    async def _connected(self, address: Address) -> RedisNode:
        node = RedisNode(self.url, timeout=self.timeout, address=address)
        await node.open(self._promise)
        return node

    async def close(self) -> None:
        self._is_open = False
        if self._cluster is not None:
            await self._cluster.close()
        await self._node.close()

    async def _check_layout(self) -> None:
        key = f"{self.prefixes[0]}layout"
        _, found = await self.call(
            self.prefixes[0], ("SET", key, LAYOUT, "NX"), ("GET", key), write=True
        )
        if found.decode() != LAYOUT:
            raise Misconfigured(
                f"The sessions in Redis have layout {found.decode()}.",
                expected=f"layout {LAYOUT}; they were written by another version of agentws",
            )

    async def ping(self) -> None:
        """Raises Unavailable if any shard does."""
        for prefix in self.prefixes:
            await self.call(prefix, ("GET", f"{prefix}layout"))
            if not self.is_cluster:
                return

    async def available_durability(self) -> Durability:
        if self._cluster is not None:
            return await self._cluster.available(self._promise)
        return await self._node.available(self._promise)

    # Calls

    def prefix_of(self, session: str) -> str:
        """The prefix of the session's shard."""
        prefixes = self.prefixes
        return prefixes[0] if len(prefixes) == 1 else prefix_of(prefixes, session)

    def chunks(self, sessions: Iterable[str], most: int) -> list[tuple[str, list[str]]]:
        """``sessions`` in groups of at most ``most``, each of one shard, with its prefix."""
        found: dict[str, list[str]] = {}
        for session in sessions:
            found.setdefault(self.prefix_of(session), []).append(session)
        return [
            (prefix, ids[start : start + most])
            for prefix, ids in found.items()
            for start in range(0, len(ids), most)
        ]

    def call(
        self, prefix: str, *commands: tuple[str | bytes | int, ...], **options: bool
    ) -> Awaitable[list[Any]]:
        """The replies to commands on keys of one shard. ``write`` waits for the durability;
        ``again``: whether they may be sent again when it is not known whether they were executed;
        ``patient``: whether they may wait for other calls.
        """
        if self._cluster is not None:
            return self._cluster.call(prefix, commands, **options)
        write = options.pop("write", False)
        link = self._node.writer if write else self._node.reader
        return link.call(*commands, durable=write, **options)

    async def script(
        self, script: Script, prefix: str, *arguments: str | bytes | int, **options: bool
    ) -> Any:
        """The reply of a script."""
        keys: tuple[str, ...] = ()
        if self._cluster is not None:
            # A cluster moves keys: it must know which ones belong together.
            keys = script.keys_of(prefix, arguments[0] if arguments else "")
        command = ("EVALSHA", script.sha, len(keys), *keys, prefix, *arguments)
        return (await self.call(prefix, command, **options))[0]
