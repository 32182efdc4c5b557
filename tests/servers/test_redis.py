"""The servers of the tests: what tests of faults rely on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.redis import KINDS, RedisServer


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_server_starts(kind: str, tmp_path: Path) -> None:
    with RedisServer(tmp_path, kind=kind) as server:
        assert server.command("PING").startswith("+PONG")


def test_a_server_restarts_on_its_port_with_what_it_had_on_disk(tmp_path: Path) -> None:
    settings = {"appendonly": "yes", "appendfsync": "always"}
    with RedisServer(tmp_path, settings=settings) as server:
        address = server.address
        server.command("SET key value")
        server.restart()
        assert server.address == address
        assert "value" in server.command("GET key")


def test_a_paused_server_answers_after_it_was_resumed(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        server.pause()
        server.resume()
        assert server.command("PING").startswith("+PONG")


def test_a_paused_server_can_be_killed(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        server.pause()
    assert server.process.poll() is not None


def test_a_replica_has_the_data_of_its_primary_and_can_be_promoted(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "primary") as primary:
        primary.command("SET key value")
        with RedisServer(tmp_path / "replica", replica_of=primary) as replica:
            assert "value" in replica.command("GET key")
            assert replica.command("SET key other").startswith("-READONLY")
            replica.promote()
            assert replica.command("SET key other").startswith("+OK")
