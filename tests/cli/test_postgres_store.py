"""``agentws run --store postgresql://...``: workers that share a PostgreSQL server."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentws.cli.stores import read_store, shown_store, store_of
from tests.servers.postgres import PostgresServer

from .shared_sessions import Command, Serve, check_shared_session, write_nodes


@pytest.fixture(autouse=True)
def nodes(folder: Path) -> None:
    write_nodes(folder)


def address(postgres: PostgresServer, query: str = "") -> str:
    # The server asks for no password, and takes any.
    return postgres.url_of(role="postgres:a-secret") + query


async def test_workers_share_a_session_in_postgresql_and_show_no_password(
    serve: Serve, postgres: PostgresServer
) -> None:
    env = {"AGENTWS_STORE": address(postgres, "?schema=chats&connect_timeout=9")}
    server = serve("run", "nodes:Node", "--workers", "2", **env)
    await check_shared_session(server)
    where = f"postgresql://...@127.0.0.1:{postgres.port}/postgres"
    assert f"Sessions are kept in {where}." in server.output
    assert server.interrupt() == 0
    assert "a-secret" not in server.output and "Traceback" not in server.output
    assert postgres.query("SELECT count(*) FROM chats.session") == [(1,)]


def test_a_server_that_loses_sessions_is_refused_in_one_line(
    command: Command, postgres: PostgresServer
) -> None:
    store = address(postgres, "?durability=disk&schema=chats")
    done = command("run", "nodes:Node", "--port", "0", "--store", store)
    assert done.returncode == 1
    assert "configured for durability process, but disk is required" in done.stderr
    assert "a-secret" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql:///chat", "postgresql:///chat"),
        ("postgres://h1:1,h2:2/chat?target_session_attrs=read-write", "postgres://h1:1,h2:2/chat"),
        ("postgresql+asyncpg://ada:pw@db/chat", "postgresql+asyncpg://...@db/chat"),
        ("POSTGRESQL://db/chat?password=pw&schema=x", "POSTGRESQL://db/chat"),
        ("postgresql:///chat?host=%2Fvar%2Frun", "postgresql:///chat"),
    ],
)
def test_every_form_of_an_address_is_taken(text: str, shown: str) -> None:
    assert read_store(text) == text
    assert shown_store(text) == shown
    assert "pw" not in repr(store_of(text))
