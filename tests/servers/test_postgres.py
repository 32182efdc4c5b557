"""The servers for the tests of PostgreSQL do what those tests rely on."""

from __future__ import annotations

import select

import psycopg
import pytest

from tests.processes import wait_until
from tests.servers.postgres import PgBouncer, PostgresServer


def test_a_server_keeps_its_data_through_a_restart_and_a_crash() -> None:
    with PostgresServer() as server:
        server.query("CREATE TABLE kept (n int)")
        server.restart()
        server.query("INSERT INTO kept VALUES (1)")
        server.query("CHECKPOINT")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            server.query("SELECT 1")
        server.start()
        assert server.query("SELECT n FROM kept") == [(1,)]


def test_a_paused_server_does_not_answer_until_it_is_resumed() -> None:
    with PostgresServer() as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            server.pause()
            connection.pgconn.send_query(b"SELECT 1")
            connection.pgconn.flush()
            assert select.select([connection.pgconn.socket], [], [], 0.1)[0] == []
            server.resume()
            result = connection.pgconn.get_result()
            assert result is not None and result.get_value(0, 0) == b"1"
            connection.pgconn.get_result()


def test_a_restored_copy_has_the_data_of_the_time_it_was_made() -> None:
    with PostgresServer() as server:
        server.query("CREATE TABLE kept (n int)")
        server.save("night")
        server.query("INSERT INTO kept VALUES (1)")
        server.restore("night")
        assert server.query("SELECT n FROM kept") == []


def test_a_standby_has_what_was_committed_on_its_server() -> None:
    with PostgresServer() as server, server.standby("one") as standby:
        server.query("CREATE TABLE kept (n int)")
        wait_until(lambda: standby.query("SELECT to_regclass('kept')") != [(None,)])
        assert standby.query("SELECT pg_is_in_recovery()") == [(True,)]


def test_a_pooler_answers_for_its_server(postgres: PostgresServer) -> None:
    with PgBouncer(postgres) as pooler, psycopg.connect(pooler.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
