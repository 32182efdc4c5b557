"""The bus of PostgreSQL fulfils the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agentws.backends.postgres import PostgresBus
from agentws.testing.contracts import BusContract
from tests.servers.postgres import PostgresServer


class TestPostgresBus(BusContract):
    @pytest.fixture
    async def bus(self, postgres: PostgresServer) -> AsyncIterator[PostgresBus]:
        bus = PostgresBus(postgres.url, schema="contract")
        await bus.open()
        yield bus
        await bus.close()

    @pytest.fixture
    async def peer(self, postgres: PostgresServer, bus: PostgresBus) -> AsyncIterator[PostgresBus]:
        peer = PostgresBus(postgres.url, schema="contract")
        await peer.open()
        yield peer
        await peer.close()
