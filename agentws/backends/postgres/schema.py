"""The schema of the PostgreSQL store, and its migrations.

``session`` has one row per log with the log's head and lease, so that an append locks, checks and
updates one row. Appends change none of its indexed columns, at most ``updated`` once a second for
the text of an answer: PostgreSQL then updates the row in place (heap-only tuples).
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection

from ...errors import Misconfigured, Unavailable
from .functions import FUNCTIONS

Connection = AsyncConnection[tuple[Any, ...]]

OLDEST: Final = 14
"""The oldest major version of PostgreSQL that the store runs on."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE {schema}.session (
            log bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            id text COLLATE "C" NOT NULL UNIQUE,
            owner text COLLATE "C",
            agent text NOT NULL,
            created float8 NOT NULL,
            updated float8 NOT NULL,
            title text,
            metadata text,
            retention float8,
            epoch text NOT NULL,
            seq bigint NOT NULL DEFAULT 0,
            tag text NOT NULL DEFAULT '',
            version bigint NOT NULL DEFAULT 0,
            settled bigint NOT NULL DEFAULT 0,
            unsettled boolean NOT NULL DEFAULT false,
            indexed bigint NOT NULL DEFAULT 0,
            fence bigint NOT NULL DEFAULT 0,
            holder text,
            expires float8 NOT NULL DEFAULT 0,
            ttl float8 NOT NULL DEFAULT 0
        ) WITH (fillfactor = 70)
        """,
        "CREATE INDEX session_owner ON {schema}.session (owner, updated, id)",
        "CREATE INDEX session_updated ON {schema}.session (updated, id) WHERE retention IS NULL",
        "CREATE INDEX session_expiry ON {schema}.session ((updated + retention), id) "
        "WHERE retention IS NOT NULL",
        "CREATE INDEX session_unsettled ON {schema}.session (updated, id) WHERE unsettled",
        "CREATE INDEX session_unindexed ON {schema}.session (log) "
        "WHERE indexed < settled AND owner IS NOT NULL",
        """
        CREATE TABLE {schema}.event (
            log bigint NOT NULL,
            seq bigint NOT NULL,
            tag text NOT NULL,
            data bytea NOT NULL,
            PRIMARY KEY (log, seq)
        )
        """,
        """
        CREATE TABLE {schema}.key (
            log bigint NOT NULL,
            id text COLLATE "C" NOT NULL,
            digest text NOT NULL,
            seq bigint NOT NULL,
            tag text NOT NULL,
            PRIMARY KEY (log, id)
        )
        """,
        # Not in the session's row, which every append writes again.
        "CREATE TABLE {schema}.carried (log bigint PRIMARY KEY, data bytea NOT NULL)",
        'CREATE TABLE {schema}.deleted (id text COLLATE "C" PRIMARY KEY)',
        """
        CREATE TABLE {schema}.passage (
            log bigint NOT NULL,
            seq bigint NOT NULL,
            words text NOT NULL,
            lexemes tsvector NOT NULL
        )
        """,
        "CREATE INDEX passage_log ON {schema}.passage (log, seq)",
        "CREATE INDEX passage_lexemes ON {schema}.passage USING gin (lexemes)",
        """
        CREATE TABLE {schema}.node (
            id text COLLATE "C" PRIMARY KEY,
            instance text NOT NULL,
            data bytea NOT NULL,
            expires float8 NOT NULL,
            ttl float8 NOT NULL
        )
        """,
    ),
)
"""The statements that migrate the schema from version n - 1 to n. A change of a function is a
migration, too, even one without statements: the functions are replaced with each new version."""


async def prepare(connection: Connection, schema: str) -> None:
    """Checks the server, and creates or migrates the schema. ``schema`` is a quoted identifier.

    Nodes that start together wait for each other. A role that may not create anything can use a
    schema that another one has migrated.
    """
    _refuse_server(connection, await _settings(connection))
    version = await _version(connection, schema)
    _refuse_newer(version)
    if version < len(MIGRATIONS):
        try:
            async with connection.transaction():
                await _migrate(connection, schema)
        except (psycopg.errors.DuplicateTable, psycopg.errors.DuplicateFunction) as error:
            raise Misconfigured("The schema has tables of another program.") from error


async def _settings(connection: Connection) -> dict[str, str]:
    cursor = await connection.execute(
        "SELECT name, setting FROM pg_settings WHERE name IN "
        "('server_encoding', 'default_transaction_isolation', 'in_hot_standby')"
    )
    return dict(await cursor.fetchall())


def _refuse_server(connection: Connection, settings: dict[str, str]) -> None:
    if connection.info.server_version < OLDEST * 10_000:
        raise Misconfigured(f"This PostgreSQL is too old: {OLDEST} or newer is needed.")
    if settings.get("server_encoding") != "UTF8":
        raise Misconfigured("The database is not encoded in UTF8, which the store needs.")
    if settings.get("in_hot_standby") == "on":
        # Not Misconfigured: it may be promoted soon.
        raise Unavailable("The server is a standby, which can't be written to.")
    if settings.get("default_transaction_isolation") != "read committed":
        raise Misconfigured(
            "The database has another default_transaction_isolation than read committed, "
            "which the store needs."
        )


async def _version(connection: Connection, schema: str) -> int:
    """The version of the schema; 0 if there is none yet."""
    # Not to_regclass(), which may answer from a cache that is older than a lock taken before.
    cursor = await connection.execute(
        "SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE nspname = %s AND relname = 'migration'",
        (schema.strip('"'),),
    )
    if await cursor.fetchone() is None:
        return 0
    cursor = await connection.execute(f"SELECT coalesce(max(version), 0) FROM {schema}.migration")
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


def _refuse_newer(version: int) -> None:
    if version > len(MIGRATIONS):
        raise Misconfigured(
            f"The database has schema {version}, newer than the {len(MIGRATIONS)} known here: "
            "a newer agentws wrote it."
        )


async def _migrate(connection: Connection, schema: str) -> None:
    lock = zlib.crc32(f"agentws {schema}".encode())
    await connection.execute("SELECT pg_advisory_xact_lock(%s::bigint)", (lock,))
    # Checked again under the lock: another node may have migrated it meanwhile.
    version = await _version(connection, schema)
    _refuse_newer(version)
    if version == len(MIGRATIONS):
        return
    if version == 0:
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        await connection.execute(
            f"CREATE TABLE {schema}.migration "
            "(version int PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())"
        )
    for number, statements in enumerate(MIGRATIONS[version:], version + 1):
        for statement in statements:
            await connection.execute(statement.replace("{schema}", schema))
        await connection.execute(f"INSERT INTO {schema}.migration VALUES (%s)", (number,))
    for function in FUNCTIONS:
        await connection.execute(function.replace("{schema}", schema))
