"""Leases and the entries of nodes in PostgreSQL, both by the clock of the server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from typing import Final

import psycopg

from ...store import Lease, LeaseRenewer, Node
from .log import not_found, rows_of
from .pool import Connection, connect, translated, until

_NOW: Final = "extract(epoch FROM now())::float8"


async def lease(
    connection: Connection, schema: str, session: str, owner: str, ttl: float
) -> Lease | None:
    query = f"SELECT token FROM {schema}.take_lease(%s, %s, %s::float8)"
    rows = await rows_of(connection, query, session, owner, ttl)
    if not rows:
        raise not_found()
    token = rows[0][0]
    return None if token is None else Lease(session, owner, token, ttl)


async def renew(
    connection: Connection, schema: str, owner: str, sessions: Sequence[str], ttl: float
) -> list[str]:
    query = f"SELECT {schema}.renew_leases(%s, %s::text[], %s::float8)"
    rows = await rows_of(connection, query, owner, list(sessions), ttl)
    held = {row[0] for row in rows}
    return [session for session in sessions if session in held]


async def release(connection: Connection, schema: str, lease: Lease) -> None:
    await connection.execute(
        f"UPDATE {schema}.session SET holder = NULL "
        "WHERE id = %s AND holder = %s AND epoch || ':' || fence = %s",
        (lease.session, lease.owner, lease.fence),
    )


async def unsettled(connection: Connection, schema: str, limit: int) -> list[str]:
    """The sessions with something open and without a valid lease."""
    rows = await rows_of(
        connection,
        f"SELECT id FROM {schema}.session WHERE unsettled "
        f"AND (holder IS NULL OR NOT {schema}.is_valid(expires, ttl, {_NOW})) "
        "ORDER BY updated, id LIMIT %s",
        limit,
    )
    return [row[0] for row in rows]


async def beat(
    connection: Connection, schema: str, node: str, instance: str, data: bytes, ttl: float
) -> bool:
    query = f"SELECT {schema}.beat(%s, %s, %b::bytea, %s::float8)"
    rows = await rows_of(connection, query, node, instance, data, ttl)
    return bool(rows[0][0])


async def nodes(connection: Connection, schema: str) -> list[Node]:
    query = f"SELECT id, data FROM {schema}.node WHERE {schema}.is_valid(expires, ttl, {_NOW})"
    return [Node(*row) for row in await rows_of(connection, f"{query} ORDER BY id")]


async def leave(connection: Connection, schema: str, node: str, instance: str) -> None:
    query = f"DELETE FROM {schema}.node WHERE id = %s AND instance = %s"
    await connection.execute(query, (node, instance))


class PostgresLeaseRenewer(LeaseRenewer):
    """Renews over a connection of its own, on an event loop of its own.

    That loop runs in a thread, since the caller's thread may have a loop that is blocked.
    """

    def __init__(self, conninfo: str, schema: str) -> None:
        self._conninfo = conninfo
        self._schema = schema
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Connection | None = None

    def renew(self, owner: str, sessions: Sequence[str], *, ttl: float) -> Sequence[str]:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            # A daemon thread, so that a program that never closes its renewer can exit.
            threading.Thread(
                target=_run, args=(self._loop,), name="agentws-postgres-leases", daemon=True
            ).start()
        renewing = self._renew(owner, sessions, ttl)
        return asyncio.run_coroutine_threadsafe(renewing, self._loop).result()

    async def _renew(self, owner: str, sessions: Sequence[str], ttl: float) -> Sequence[str]:
        """Tries once more, over a new connection, when the one that is there was lost."""
        loop = asyncio.get_running_loop()
        end = loop.time() + ttl / 2
        if self._connection is not None and not self._connection.closed:
            with contextlib.suppress(psycopg.OperationalError):
                return await self._within(end, self._connection, owner, sessions, ttl)
        with translated():
            left = max(0.0, end - loop.time())
            self._connection = await connect(self._conninfo, within=left)
            return await self._within(end, self._connection, owner, sessions, ttl)

    async def _within(
        self, end: float, connection: Connection, owner: str, sessions: Sequence[str], ttl: float
    ) -> Sequence[str]:
        with until(end, connection):
            return await renew(connection, self._schema, owner, sessions, ttl)

    def close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._disconnect(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()
