"""``agentws run --store redis://...``: workers that share a Redis server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.redis import RedisServer

from .shared_sessions import Command, Serve, check_shared_session, write_nodes


@pytest.fixture(autouse=True)
def nodes(folder: Path) -> None:
    write_nodes(folder)


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
    await check_shared_session(server)
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
