"""The PostgreSQL store behind a pooler that gives every statement another connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from agentws.backends.postgres import PostgresBus, PostgresStore
from agentws.testing.agents import Script
from agentws.testing.contract_base import begin, eventually
from agentws.testing.contract_leases import LeaseRules
from agentws.testing.contract_log import AppendRules
from agentws.testing.contract_versions import VersionRules
from tests.runs.nodes import client_of_each
from tests.servers.postgres import PgBouncer, PostgresServer

from .postgres_nodes import two_gateways
from .postgres_schemas import Writers, new_schema, opened


@pytest.fixture(scope="module")
def pooler(postgres: PostgresServer) -> Iterator[PgBouncer]:
    with PgBouncer(postgres) as one:
        yield one


@pytest.mark.anyio
class TestThroughAPooler(AppendRules, VersionRules, LeaseRules):
    """Whatever needs the same connection for two statements would fail here."""

    @pytest.fixture
    async def store(self, pooler: PgBouncer) -> AsyncIterator[PostgresStore]:
        async with opened(pooler.url, "pooled") as store:
            yield store

    @pytest.fixture
    async def peer(self, pooler: PgBouncer, store: PostgresStore) -> AsyncIterator[PostgresStore]:
        async with opened(pooler.url, "pooled") as peer:
            yield peer


async def test_many_writers_share_the_few_connections_of_a_pooler(pooler: PgBouncer) -> None:
    schema = new_schema()
    async with opened(pooler.url, schema) as store, opened(pooler.url, schema) as other:
        sessions = [await begin(store) for _ in range(20)]
        one, two = Writers(store, sessions[:10]), Writers(other, sessions[10:])
        await one.more(200)
        await two.more(200)
        for writers in (one, two):
            await writers.stop()
            assert not any(writers.failed.values())
            await writers.check(store)


async def test_a_bus_that_hears_nothing_says_it_once_and_followers_poll(
    pooler: PgBouncer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "agentws")
    agent = Script("Hello ", "there")
    async with two_gateways(pooler.url, agent) as (first, second, _):
        async with client_of_each(first, second) as (one, other):
            await one.say("go", "m1")
            assert await one.answer() == "Hello there"
            assert await other.answer() == "Hello there"

            async def said() -> bool:
                return caplog.text.count("no notification of PostgreSQL arrives here") == 2

            await eventually(said, within=20)
    assert caplog.text.count("no notification of PostgreSQL arrives here") == 2


async def test_a_bus_with_the_address_of_the_server_works_beside_a_pooled_store(
    postgres: PostgresServer, pooler: PgBouncer
) -> None:
    one, other = (PostgresBus(postgres.url, schema="beside") for _ in range(2))
    heard: list[bytes] = []
    async with opened(pooler.url, "beside"):
        await asyncio.gather(one.open(), other.open())
        one.subscribe("s:1", lambda _, payload: heard.append(payload))

        async def reached() -> bool:
            other.publish("s:1", b"reached")
            return bool(heard)

        await eventually(reached)
        await asyncio.gather(one.close(), other.close())
