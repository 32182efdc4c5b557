"""A host starts while the store is down; its gateway follows when the store is there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from agentws import AgentGateway, SQLiteStore, mount_agent_gateway
from agentws.backends.sqlite.schema import MIGRATIONS
from agentws.errors import Misconfigured, Unavailable
from agentws.gateway.starting import LONGEST_PAUSE, START_TIMEOUT
from agentws.testing.agents import Script
from agentws.testing.connect import connect, running
from agentws.testing.faults import FaultyStore, SlowStore
from tests.http.calling import client
from tests.runs.nodes import memory_store
from tests.stores.conftest import another_program


def mounted(**options: Any) -> tuple[AgentGateway, Starlette]:
    """A gateway in a host that has a route of its own."""

    async def home(request: Any) -> PlainTextResponse:
        return PlainTextResponse("the host")

    app = Starlette(routes=[Route("/home", home)])
    return mount_agent_gateway(app, Script("fine"), **options), app


async def wait_until_ready(http: Any) -> float:
    begun = asyncio.get_running_loop().time()
    async with asyncio.timeout(120):
        while (await http.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - it is polled
            await asyncio.sleep(0.1)
    return asyncio.get_running_loop().time() - begun


@pytest.mark.parametrize("broken", ["open", "beat"])
async def test_a_host_starts_while_the_store_is_down(broken: str) -> None:
    store = FaultyStore(memory_store())
    store.fail(broken)
    gateway, app = mounted(store=store)
    async with running(app):
        http = client(app)
        assert (await http.get("/home")).text == "the host"
        if broken == "open":
            response = await http.get("/readyz")
            assert (response.status_code, response.json()["status"]) == (503, "unavailable")
            assert (await http.get("/health")).status_code == 200
            refused = await http.get("/sessions")
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            assert refused.headers["retry-after"] == "2"
            async with connect(app) as one:
                assert (await one.until("bye"))["retryable"] is True
                assert (await one.wait_closed()).code == 4503
        await asyncio.sleep(300)
        store.heal()
        assert await wait_until_ready(http) <= LONGEST_PAUSE + 1
        async with connect(app) as one:
            await one.say("hello", "m1")
            assert await one.answer() == "fine"
    assert not gateway.started


async def test_the_store_is_tried_again_with_pauses_whoever_asks_meanwhile(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FaultyStore(memory_store())
    store.fail("open")
    _, app = mounted(store=store)
    async with running(app):
        http = client(app)
        for _ in range(500):
            await http.get("/readyz")
            await asyncio.sleep(0.2)
        assert 100 / LONGEST_PAUSE <= store.calls["open"] <= 100
        assert sum("tries again" in said for said in caplog.messages) == 1


async def test_a_host_whose_store_is_down_stops() -> None:
    store = FaultyStore(memory_store())
    store.fail("open")
    gateway, app = mounted(store=store)
    async with running(app):
        pass
    tries = store.calls["open"]
    await asyncio.sleep(100)
    assert store.calls["open"] == tries
    store.heal()
    async with running(app):
        assert gateway.started


async def test_a_store_that_hangs_delays_the_start_of_its_host_by_20_seconds_at_most() -> None:
    store = SlowStore(memory_store(), slow_on="open")
    store.pause()
    gateway, app = mounted(store=store)
    begun = asyncio.get_running_loop().time()
    async with running(app, within=60):
        assert asyncio.get_running_loop().time() - begun <= START_TIMEOUT
        assert not gateway.started
        store.resume()
        await wait_until_ready(client(app))


async def test_a_store_that_is_set_up_wrong_ends_the_start_with_one_line() -> None:
    store = FaultyStore(memory_store())
    store.fail("open", error=lambda: Misconfigured("The server evicts keys."))
    _, app = mounted(store=store)
    with pytest.raises(AssertionError, match=r"^agentws can't start: The server evicts keys\.$"):
        async with running(app):
            pass
    assert store.calls["open"] == 1


async def test_an_error_that_is_no_outage_ends_the_start() -> None:
    store = FaultyStore(memory_store())
    store.fail("open", error=lambda: RuntimeError("a bug"))
    _, app = mounted(store=store)
    with pytest.raises(AssertionError, match="a bug"):
        async with running(app):
            pass


async def test_a_store_that_is_set_up_wrong_when_it_comes_back_is_tried_again() -> None:
    store = FaultyStore(memory_store())
    store.fail("open")
    _, app = mounted(store=store)
    async with running(app):
        await asyncio.sleep(30)
        store.fail("open", error=lambda: Misconfigured("The server evicts keys."))
        await asyncio.sleep(30)
        store.heal()
        await wait_until_ready(client(app))


async def test_everything_is_closed_when_the_node_may_not_start() -> None:
    store = FaultyStore(memory_store())
    store.fail("beat", error=lambda: Misconfigured("no"), times=1)
    gateway, _ = mounted(store=store)
    closed: list[bool] = []
    gateway.bus.close = lambda: _note(closed)  # type: ignore[method-assign]
    with pytest.raises(Misconfigured):
        await gateway.start()
    assert closed and not gateway.started


async def _note(closed: list[bool]) -> None:
    closed.append(True)


class TestSQLite:
    """In real time: its operations run on threads."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_a_file_of_a_newer_version_is_set_up_wrong(self, tmp_path: Path) -> None:
        path = tmp_path / "sessions.db"
        store = SQLiteStore(path)
        await store.open()
        await store.close()
        with another_program(path) as connection:
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        with pytest.raises(Misconfigured, match="newer"):
            await store.open()

    async def test_a_file_that_can_not_be_one_is_set_up_wrong(self, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("not a database " * 100)
        for path in (tmp_path / "text", tmp_path, tmp_path / "nowhere" / "sessions.db"):
            with pytest.raises(Misconfigured):
                await SQLiteStore(path).open()

    async def test_a_locked_file_is_an_outage(self, tmp_path: Path) -> None:
        path = tmp_path / "sessions.db"
        store = SQLiteStore(path, busy_timeout=0.05)
        with another_program(path) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN EXCLUSIVE")
            with pytest.raises(Unavailable) as raised:
                await store.open()
        assert not isinstance(raised.value, Misconfigured)
