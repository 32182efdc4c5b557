"""How the PostgreSQL store makes its schema, and which servers and schemas it refuses."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from agentws.backends.postgres import PostgresStore
from agentws.backends.postgres.schema import MIGRATIONS
from agentws.errors import BadRequest, NotFound
from agentws.testing.contract_base import begin, event
from tests.processes import ROOT
from tests.servers.postgres import PostgresServer

from .postgres_schemas import new_schema, opened, refused, until


async def refusal(url: str, schema: str | None = None) -> str:
    async def open_it() -> None:
        async with opened(url, schema):
            pass

    return str(await refused(open_it))


async def test_nodes_that_start_together_make_one_schema(postgres: PostgresServer) -> None:
    schema = new_schema()
    stores = [PostgresStore(postgres.url, schema=schema) for _ in range(6)]
    await asyncio.gather(*(store.open() for store in stores))
    session = await begin(stores[0])
    await asyncio.gather(*(store.append(session, [event(1)]) for store in stores))
    assert list(await stores[0].heads([session])) == [6]
    versions = postgres.query(f"SELECT version FROM {schema}.migration ORDER BY 1")
    assert versions == [(number + 1,) for number in range(len(MIGRATIONS))]
    await asyncio.gather(*(store.close() for store in stores))


async def test_applications_share_a_database_under_different_schemas(
    postgres: PostgresServer,
) -> None:
    async with opened(postgres.url) as one, opened(postgres.url, "Other_Schema") as other:
        session = await begin(one)
        with pytest.raises(NotFound):
            await other.info(session)


async def test_a_newer_schema_is_refused_and_not_changed(postgres: PostgresServer) -> None:
    schema = new_schema()
    async with opened(postgres.url, schema):
        pass
    postgres.query(f"INSERT INTO {schema}.migration VALUES (99)")
    assert "has schema 99, newer than" in await refusal(postgres.url, schema)
    assert "a newer agentws wrote it" in await refusal(postgres.url, schema)


async def test_a_schema_with_tables_of_another_program_is_refused(
    postgres: PostgresServer,
) -> None:
    schema = new_schema()
    postgres.query(f"CREATE SCHEMA {schema}")
    postgres.query(f"CREATE TABLE {schema}.session (theirs int)")
    assert await refusal(postgres.url, schema) == "The schema has tables of another program."
    tables = postgres.query(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", schema
    )
    assert tables == [("session",)]


async def test_a_role_that_may_not_create_anything_uses_a_schema_that_is_there(
    postgres: PostgresServer,
) -> None:
    schema = new_schema()
    role = f"{schema}_role"
    url = postgres.url_of(role=role)
    postgres.query(f"CREATE ROLE {role} LOGIN")
    expected = "The database does not permit this to the role of the store."
    assert await refusal(url, schema) == expected
    async with opened(postgres.url, schema):
        pass
    postgres.query(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    rights = "SELECT, INSERT, UPDATE, DELETE"
    postgres.query(f"GRANT {rights} ON ALL TABLES IN SCHEMA {schema} TO {role}")
    async with opened(url, schema) as store:
        session = await begin(store)
        await store.append(session, [event(1)])


async def test_a_schema_that_was_dropped_meanwhile_is_unavailable(
    postgres: PostgresServer,
) -> None:
    schema = new_schema()
    async with opened(postgres.url, schema) as store:
        session = await begin(store)
        postgres.query(f"DROP SCHEMA {schema} CASCADE")
        for call in (store.ping, lambda: store.append(session, [event(1)])):
            assert str(await refused(call)) == "The schema of the store is missing."


async def test_a_database_that_can_not_keep_every_text_is_refused(
    postgres: PostgresServer,
) -> None:
    postgres.query("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    url = postgres.url_of(database="ascii")
    assert "is not encoded in UTF8" in await refusal(url)


async def test_a_database_with_another_isolation_is_refused(postgres: PostgresServer) -> None:
    postgres.query("CREATE DATABASE strict")
    postgres.query("ALTER DATABASE strict SET default_transaction_isolation = 'serializable'")
    url = postgres.url_of(database="strict")
    assert "default_transaction_isolation" in await refusal(url)


async def test_what_is_wrong_with_an_address_is_said_in_one_line_without_secrets(
    postgres: PostgresServer,
) -> None:
    for url in (postgres.url_of(database="nowhere"), postgres.url_of(role="stranger:secret")):
        assert await refusal(url) == (
            "The server refused the connection: the name of the database, the role or the "
            "password may be wrong, or it has no connection left."
        )


@pytest.mark.parametrize("url", ["postgresql://h:1/x?port", "postgres://[::1", "host", "nonsense"])
def test_an_address_that_can_not_be_read_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="this is not the address of a PostgreSQL database"):
        PostgresStore(url.replace("h:", "u:secret@h:"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://ada:secret@db.example/chat",
        "postgres://ada:secret@db.example/chat",
        "host=db.example dbname=chat user=ada password=secret",
    ],
)
def test_every_form_of_an_address_is_read_and_shown_without_the_password(url: str) -> None:
    store = PostgresStore(url)
    assert repr(store) == "<PostgresStore 'db.example/chat' schema=\"agentws\">"


@pytest.mark.parametrize(
    "options",
    [
        {"schema": ""},
        {"schema": 'x"; DROP SCHEMA public'},
        {"schema": "1st"},
        {"schema": "x" * 49},
        {"durability": "paper"},
        {"pool_size": 0},
        {"timeout": 0},
    ],
)
def test_an_option_that_means_nothing_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        PostgresStore("postgresql://db.example/chat", **options)  # type: ignore[arg-type]


async def test_an_unopened_store_is_unavailable(postgres: PostgresServer) -> None:
    store = PostgresStore(postgres.url)
    for call in (store.ping, lambda: store.append("s", [event(1)])):
        assert str(await refused(call)) == "The store is not open."


async def test_appends_seldom_write_to_an_index(postgres: PostgresServer) -> None:
    """So that the table of sessions does not grow while answers are streamed."""
    schema = new_schema()
    async with opened(postgres.url, schema) as store:
        session = await begin(store)
        for number in range(300):
            await store.append(session, [event(number)], commutes=True)

    def updates() -> tuple[object, ...]:
        postgres.query("SELECT pg_stat_clear_snapshot()")
        return postgres.query(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables "
            f"WHERE schemaname = '{schema}' AND relname = 'session'"
        )[0]

    await until(lambda: updates()[0] == 300)
    hot = updates()[1]
    assert isinstance(hot, int) and hot > 250


async def test_text_with_a_nul_is_refused_as_what_it_is(postgres: PostgresServer) -> None:
    async with opened(postgres.url) as store:
        session = await begin(store)
        with pytest.raises(BadRequest, match="can't keep this text"):
            await store.update(session, title="a\x00b")
        with pytest.raises(BadRequest, match="can't keep this text"):
            await store.info("a\x00b")
        changed = await store.update(session, metadata={"any": "a\x00b"})
        assert changed.metadata == {"any": "a\x00b"}
        assert (await store.info(session)).metadata == {"any": "a\x00b"}


def test_without_its_driver_the_error_names_the_extra() -> None:
    code = "import sys; sys.modules['psycopg'] = None; import agentws.backends.postgres"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert 'pip install "agentws[postgres]"' in done.stderr
