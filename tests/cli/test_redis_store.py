"""``agentws run --store redis://...``: workers that share a Redis server."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentws.client import connect
from tests.servers.redis import RedisServer

from .conftest import Server

Serve = Callable[..., Server]
Command = Callable[..., subprocess.CompletedProcess[str]]

NODES = """
import os
from agentws import Agent


class Node(Agent):
    async def run(self, ctx):
        yield str(os.getpid())
"""


@pytest.fixture(autouse=True)
def nodes(folder: Path) -> None:
    (folder / "nodes.py").write_text(NODES)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", settings={"requirepass": "a-secret"}) as server:
        yield server


def address(redis: RedisServer, query: str = "") -> str:
    return f"redis://:a-secret@127.0.0.1:{redis.port}/0{query}"


async def test_workers_share_a_session_in_redis_and_show_no_password(
    serve: Serve, redis: RedisServer
) -> None:
    env = {"AGENTWS_STORE": address(redis, "?namespace=chats")}
    server = serve("run", "nodes:Node", "--workers", "2", **env)
    url = f"{server.url}ws/chat"
    async with connect(url, connect_timeout=20) as first:
        pid = await first.ask("which")
        # The lease of a session stays with a worker, whichever one a client is connected to.
        async with connect(f"{url}?session={first.session}", connect_timeout=20) as second:
            assert await second.ask("which") == pid
    assert f"Sessions are kept in redis://...@127.0.0.1:{redis.port}" in server.output
    assert "--files FOLDER keeps them" in server.output
    assert server.interrupt() == 0
    assert "a-secret" not in server.output and "Traceback" not in server.output


def test_a_server_that_loses_sessions_is_refused_in_one_line(
    command: Command, redis: RedisServer
) -> None:
    done = command(
        "run", "nodes:Node", "--port", "0", "--store", address(redis, "?durability=disk")
    )
    assert done.returncode == 1
    assert "can't confirm that an append is on its disk" in done.stderr
    assert "a-secret" not in done.stderr and "Traceback" not in done.stderr
