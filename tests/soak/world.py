"""What a soak breaks: three nodes, their store, and a proxy on every way between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from agentws.testing.proxy import FaultProxy
from tests.cluster.checks import until
from tests.cluster.nodes import Cluster, Node
from tests.cluster.stores import SharedStore, shared_store

from .schedule import CLIENTS, NODES, PARTITIONS, PROCESS, STORE, Episode

SLOW_RATE: Final = 20_000.0
SLOW_DELAY: Final = 0.2


class World:
    """A running cluster, of which everything can fail. Made by :func:`world`."""

    def __init__(
        self,
        cluster: Cluster,
        store: SharedStore,
        fronts: dict[str, FaultProxy],
        backs: dict[str, FaultProxy],
    ) -> None:
        self.cluster = cluster
        self.store = store
        self.fronts = fronts
        """The proxy between clients and each node."""
        self.backs = backs
        """The proxy between each node and the server of the store, if it has one."""
        self._active: set[Episode] = set()
        self._turns = {name: asyncio.Lock() for name in (*NODES, STORE)}
        """A process is started or killed by one episode at a time."""

    def url(self, node: str) -> str:
        return f"ws://{self.fronts[node].host}/ws/chat"

    async def run(self, episodes: Sequence[Episode]) -> None:
        """Lets every episode happen at its time; then everything works again."""
        begun = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for episode in episodes:
                group.create_task(self._episode(episode, begun))
        await self.restore()

    async def _episode(self, episode: Episode, begun: float) -> None:
        now = asyncio.get_running_loop().time
        await asyncio.sleep(begun + episode.at - now())
        self._active.add(episode)
        await self._fail(episode)
        await asyncio.sleep(begun + episode.until - now())
        await self._mend(episode)
        self._active.discard(episode)
        await self._revive()

    async def _fail(self, episode: Episode) -> None:
        kind, target = episode.kind, episode.target
        if kind in PARTITIONS:
            _disturb(self.backs[target], kind)
        elif kind in CLIENTS:
            _disturb(self.fronts[target], kind)
        else:
            async with self._turns[target]:
                act = self._fail_server if target == STORE else self._fail_node
                await asyncio.to_thread(act, episode)

    async def _mend(self, episode: Episode) -> None:
        if episode.kind in PARTITIONS:
            self.backs[episode.target].heal()
        elif episode.kind in CLIENTS:
            self.fronts[episode.target].heal()
        elif episode.target == STORE:
            async with self._turns[STORE]:
                await asyncio.to_thread(self._mend_server, episode)

    async def _revive(self) -> None:
        """Starts and resumes the nodes that no episode keeps down, and that reach their store."""
        for node in self.cluster.nodes:
            async with self._turns[node.name]:
                if not self._kept_down(node.name):
                    try:
                        await asyncio.to_thread(node.restore)
                    except AssertionError:
                        # It lost its store while it started: the end of that episode starts it.
                        if not self._kept_down(node.name):
                            raise

    def _kept_down(self, node: str) -> bool:
        own = (*PROCESS, *PARTITIONS)
        return any(
            one.target == STORE or (one.target == node and one.kind in own) for one in self._active
        )

    async def restore(self) -> None:
        """Everything runs, every connection passes, and every node has found its store again."""
        for proxy in (*self.fronts.values(), *self.backs.values()):
            proxy.heal()
        await asyncio.to_thread(self.cluster.restore)
        for node in self.cluster.nodes:
            await until(node.ready)

    def _fail_node(self, episode: Episode) -> None:
        node = self.cluster[episode.target]
        if node.running:
            PROCESS_FAULTS[episode.kind](node)

    def _fail_server(self, episode: Episode) -> None:
        assert self.store.server is not None
        if episode.kind == "store: kill":
            self.store.server.kill()
        else:
            self.store.server.pause()

    def _mend_server(self, episode: Episode) -> None:
        assert self.store.server is not None
        if episode.kind == "store: kill":
            self.store.server.start()
        else:
            self.store.server.resume()


def _disturb(proxy: FaultProxy, kind: str) -> None:
    NETWORK_FAULTS[kind.rpartition(": ")[2]](proxy)


def _slow(proxy: FaultProxy) -> None:
    proxy.rate, proxy.delay = SLOW_RATE, SLOW_DELAY


def _refuse(proxy: FaultProxy) -> None:
    proxy.refusing = True
    proxy.reset()


PROCESS_FAULTS: Final[Mapping[str, Callable[[Node], object]]] = {
    "kill": Node.kill,
    "terminate": Node.stop,
    "freeze": Node.freeze,
}
NETWORK_FAULTS: Final[Mapping[str, Callable[[FaultProxy], object]]] = {
    "blackhole": FaultProxy.blackhole,
    "partition": FaultProxy.blackhole,
    "no answers": lambda proxy: proxy.blackhole("down"),
    "half-open": FaultProxy.half_open,
    "reset": FaultProxy.reset,
    "cut": FaultProxy.cut,
    "slow": _slow,
    "refused": _refuse,
}


@asynccontextmanager
async def world(store: str, folder: Path) -> AsyncIterator[World]:
    """A cluster over that store, with its proxies, for as long as ``async with`` lasts."""
    async with AsyncExitStack() as opened:
        shared = opened.enter_context(shared_store(store, folder))
        backs: dict[str, FaultProxy] = {}
        if shared.server is not None:
            for name in NODES:
                backs[name] = await opened.enter_async_context(FaultProxy(shared.server.port))
        urls = [shared.through(backs[one].port) if backs else shared.url for one in NODES]
        cluster = Cluster(shared.url, folder, stores=urls)
        try:
            await asyncio.to_thread(cluster.restore)
            fronts = {
                node.name: await opened.enter_async_context(FaultProxy(node.port))
                for node in cluster.nodes
            }
            yield World(cluster, shared, fronts, backs)
        finally:
            await asyncio.to_thread(cluster.kill)
