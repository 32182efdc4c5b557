"""A reconnect storm: all clients of a node return to another one at once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import signal
import time
from collections.abc import Sequence

import msgspec

from ..scale import Scale
from ..servers.clients import GatewayClient
from ..servers.process import ServerProcess
from .cluster import Cluster

AT_ONCE = 200
PATIENCE = 120.0
PAUSES = (0.5, 1.5)
"""Seconds before another try, at random."""


class Returning(GatewayClient):
    """A client that the node may refuse: it then loses its connection."""

    def message(self, payload: bytes) -> None:
        if payload.startswith(b'{"type":"bye"'):
            self._transport.abort()
        else:
            super().message(payload)


async def storm(cluster: Cluster, scale: Scale) -> Sequence[float]:
    """Seconds, tries of a client, the most calls of the store in a second, and calls for a client.

    The node is killed, and another one on its store resumes the clients: none of their sessions is
    in its memory. Nodes share no store in memory: there the node itself resumes them.
    """
    async with contextlib.AsyncExitStack() as nodes:
        first = await nodes.enter_async_context(cluster.node(count_calls=True))
        second = first
        if cluster.address.kind != "memory":
            second = await nodes.enter_async_context(cluster.node(count_calls=True))
        clients = await _with_an_answer(first, scale.returning_clients)
        await second.request("POST", "/calls")
        began = time.perf_counter()
        await _end_connections(first, clients, kill=second is not first)
        async with asyncio.timeout(PATIENCE):
            tries = await asyncio.gather(*(_return(second, each) for each in clients))
        took = time.perf_counter() - began
        calls = msgspec.json.decode(await second.request("POST", "/calls"))
    return took, sum(tries) / len(clients), calls["most"], calls["all"] / len(clients)


async def _with_an_answer(node: ServerProcess, count: int) -> list[GatewayClient]:
    clients = [GatewayClient() for _ in range(count)]
    for start in range(0, count, AT_ONCE):
        some = clients[start : start + AT_ONCE]
        await asyncio.gather(*(each.open(node.port) for each in some))
        for each in some:
            each.ask("echo", 1)
        await asyncio.gather(*(each.answer() for each in some))
    return clients


async def _end_connections(
    node: ServerProcess, clients: Sequence[GatewayClient], *, kill: bool
) -> None:
    if kill:
        node.signal(signal.SIGKILL)
    await asyncio.gather(*(each.drop() for each in clients))


async def _return(node: ServerProcess, old: GatewayClient) -> int:
    """Resumes after the client's message, and replays its answer. Returns how often it tried.

    A node that is overloaded refuses clients, which try again after a pause, as real ones do.
    """
    for tries in itertools.count(1):
        with contextlib.suppress(ConnectionError):
            await _resume(node, old)
            return tries
        await asyncio.sleep(random.uniform(*PAUSES))
    raise AssertionError


async def _resume(node: ServerProcess, old: GatewayClient) -> None:
    new = Returning()
    new.expect(1)
    await new.open(node.port, f"?session={old.session}&after={old.position}")
    await new.answer()
    if new.resume != "replay":
        raise RuntimeError(f"expected a replay, got {new.resume}")
