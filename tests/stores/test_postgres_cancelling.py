"""Cancelling a task of PostgreSQL's bus ends it, whatever psycopg is waiting for.

psycopg waits in ``asyncio.wait_for``, which on Python 3.11 loses a cancellation that arrives
together with what was waited for.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from agentws.backends.postgres import PostgresBus, pool
from tests.servers.postgres import PostgresServer
from tests.stores.postgres_schemas import until

WITHIN = 20.0
LOCK = 7_301


async def test_a_cancellation_while_connecting_is_not_lost(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = psycopg.AsyncConnection.connect
    made = asyncio.get_running_loop().create_future()

    async def losing_a_cancellation(*args: Any, **options: Any) -> pool.Connection:
        connection = await connect(*args, **options)
        made.set_result(connection)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        return connection

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", losing_a_cancellation)
    connecting = asyncio.ensure_future(pool.connect(postgres.url, within=WITHIN))
    connection = await made

    connecting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert connection.closed


async def test_a_cancellation_in_a_statement_is_raised_when_the_statement_has_ended(
    postgres: PostgresServer,
) -> None:
    connection = await pool.connect(postgres.url, within=WITHIN)
    await connection.execute("CREATE TEMPORARY TABLE made (number int)")
    query = f"INSERT INTO made SELECT 1 FROM pg_advisory_lock_shared({LOCK})"
    with psycopg.connect(postgres.url, autocommit=True) as program:
        program.execute(f"SELECT pg_advisory_lock({LOCK})")
        running = asyncio.ensure_future(pool.statement(connection, query, within=WITHIN))
        await until(lambda: connection.pgconn.transaction_status == TransactionStatus.ACTIVE)

        running.cancel()
        await asyncio.sleep(0.05)
        assert not running.done()

    # The lock is free with the connection that had it.
    with pytest.raises(asyncio.CancelledError):
        await running
    rows = await (await connection.execute("SELECT count(*) FROM made")).fetchone()
    assert rows == (1,)
    await connection.close()


@pytest.mark.parametrize("seed", range(3))
async def test_a_bus_that_is_closed_at_any_moment_after_its_start_ends_all_its_tasks(
    postgres: PostgresServer, seed: int
) -> None:
    for turn in range(15):
        bus = PostgresBus(postgres.url, schema="cancelling")
        await bus.open()
        await asyncio.sleep((seed * 15 + turn) * 0.0004)
        async with asyncio.timeout(WITHIN):
            await bus.close()
