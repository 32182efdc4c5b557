"""The bus over an SQLite file, without another process."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from agentws.backends.sqlite import SQLiteStore
from agentws.backends.sqlite.bus import SQLiteBus
from agentws.backends.sqlite.sockets import BACKLOG, LARGEST
from agentws.testing.contracts import BusContract

from .buses import connected, listen, opened, sockets, until


class TestSQLiteBus(BusContract):
    @pytest.fixture
    async def bus(self, path: Path) -> AsyncIterator[SQLiteBus]:
        async with opened(path) as bus:
            yield bus

    @pytest.fixture
    async def peer(self, path: Path, bus: SQLiteBus) -> AsyncIterator[SQLiteBus]:
        async with opened(path) as peer:
            yield peer


async def test_buses_that_open_at_the_same_time_reach_each_other(path: Path) -> None:
    buses = [SQLiteBus(path) for _ in range(5)]
    await asyncio.gather(*(bus.open() for bus in buses))
    for number, bus in enumerate(buses):
        await connected(bus, buses[number - 1])
    assert len(sockets(path)) == 5
    await asyncio.gather(*(bus.close() for bus in buses))
    assert sockets(path) == []


async def test_a_message_published_just_before_closing_arrives(path: Path, bus: SQLiteBus) -> None:
    received = listen(bus)
    async with opened(path) as brief:
        brief.publish("c", bytes(BACKLOG))
        brief.publish("c", b"goodbye")
    await until(lambda: b"goodbye" in received)
    assert len(received) == 2


async def test_closing_is_bounded_and_complete_although_a_process_never_reads(path: Path) -> None:
    frozen = path.with_name(f"chat.sqlite3-bell-{'0' * 16}")
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(frozen))
        listening.listen()
        for cancelled in (False, True):
            bus = SQLiteBus(path)
            await bus.open()
            bus.publish("c", bytes(BACKLOG))
            closing_bus = asyncio.create_task(bus.close())
            done, _ = await asyncio.wait({closing_bus}, timeout=0.1 if cancelled else 20)
            assert bool(done) is not cancelled
            closing_bus.cancel()
            await asyncio.wait({closing_bus})
            assert sockets(path) == [frozen.name]


async def test_a_message_that_is_too_large_is_refused_with_a_warning(
    bus: SQLiteBus, peer: SQLiteBus, caplog: pytest.LogCaptureFixture
) -> None:
    await connected(bus, peer)
    mine, theirs = listen(bus), listen(peer)
    bus.publish("c", bytes(LARGEST + 1))
    bus.publish("c", b"next")
    await until(lambda: theirs)
    assert theirs == [b"next"] and len(mine) == 2
    assert "reaches no other process" in caplog.text


@pytest.mark.parametrize("name", ["x" * 150 + ".sqlite3", "missing/chat.sqlite3"])
async def test_a_bus_without_sockets_reaches_its_own_process_only(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / name
    if path.parent.exists():
        path.touch()
    before = os.listdir(tmp_path)
    async with opened(path) as bus:
        received = listen(bus)
        bus.publish("c", b"here")
        assert received == [b"here"]
    assert "only by polling" in caplog.text
    assert os.listdir(tmp_path) == before


async def test_a_bus_with_sockets_logs_no_warning(
    bus: SQLiteBus, peer: SQLiteBus, caplog: pytest.LogCaptureFixture
) -> None:
    await connected(bus, peer)
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_a_bus_opens_again_on_another_loop_after_the_first_was_closed(path: Path) -> None:
    bus = SQLiteBus(path)
    asyncio.run(bus.open())

    async def again() -> None:
        await bus.close()
        assert sockets(path) == []
        async with opened(path) as peer:
            await bus.open()
            await connected(bus, peer)
            await bus.close()

    asyncio.run(again())
    assert sockets(path) == []


def test_a_bus_that_was_never_closed_leaves_no_file(path: Path) -> None:
    asyncio.run(SQLiteBus(path).open())
    assert sockets(path) == []


async def test_stores_reach_each_other_through_their_default_buses_by_any_path(
    path: Path, tmp_path: Path
) -> None:
    link = tmp_path / "elsewhere"
    link.mkdir()
    (link / "link.db").symlink_to(path)
    one = SQLiteStore(path).default_bus()
    other = SQLiteStore(link / "link.db").default_bus()
    await one.open()
    await other.open()
    await connected(one, other)
    await one.close()
    await other.close()
