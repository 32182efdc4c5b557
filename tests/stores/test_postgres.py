"""The PostgreSQL store fulfils the contract, with two stores over one database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agentws.backends.postgres import PostgresStore
from agentws.testing.contracts import SearchContract, StoreContract
from tests.servers.postgres import PostgresServer


class TestPostgresStore(StoreContract, SearchContract):
    @pytest.fixture
    async def store(self, postgres: PostgresServer) -> AsyncIterator[PostgresStore]:
        # Every test makes its own sessions: they share a schema.
        store = PostgresStore(postgres.url, schema="contract")
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    async def peer(
        self, postgres: PostgresServer, store: PostgresStore
    ) -> AsyncIterator[PostgresStore]:
        peer = PostgresStore(postgres.url, schema="contract")
        await peer.open()
        yield peer
        await peer.close()
