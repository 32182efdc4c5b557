"""A process that mounts nothing speaks to the clients of two nodes, on each store."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentws.testing.connect import Client, connect
from tests.processes import ROOT
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

from .speaker import STORES
from .stage import nodes


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The kind of a store, and its address."""
    match request.param:
        case "postgres":
            server: PostgresServer = request.getfixturevalue("postgres")
            yield "postgres", server.url
        case "redis":
            with RedisServer(tmp_path) as redis:
                yield "redis", redis.url
        case _:
            yield "sqlite", str(tmp_path / "chat.sqlite3")


async def speak(kind: str, address: str) -> list[str]:
    """What a speaker prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.topics.speaker",
        kind,
        address,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode().split()


async def heard(client: Client) -> dict[str, Any]:
    """The frames with the post and the two notices, by what they say."""
    found: dict[str, Any] = {}
    while len(found) < 3:
        frame = await client.receive()
        said = frame.get("content") or frame.get("event", {}).get("content")
        if said:
            found[said] = frame
    return found


async def test_a_process_that_mounts_nothing_reaches_the_clients_of_all_nodes(
    store: tuple[str, str],
) -> None:
    kind, address = store
    async with (
        nodes(store=STORES[kind](address), bus=None) as [one],
        nodes(store=STORES[kind](address), bus=None) as [two],
        connect(one) as near,
        connect(two) as far,
    ):
        for client in (near, far):
            await client.subscribe("orders")
        position, notified, reached = await speak(kind, address)
        assert (notified, reached) == ("2", "2")
        for client in (near, far):
            frames = await heard(client)
            assert frames["posted"]["id"] == position
            assert frames["shown"]["topic"] == frames["posted"]["topic"] == "orders"
            assert "topic" not in frames["to everybody"]
        again = await connect_again(far, one)
        assert (again["resume"], again["head"]) == ("replay", position)


async def connect_again(client: Client, node: Any) -> dict[str, Any]:
    """The answer to a client that goes on at another node."""
    await client.reconnect(node)
    return await client.subscribe("orders", after=client.topics["orders"], id="again")
