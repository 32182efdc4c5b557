"""The bus between the processes that share an SQLite file."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import stat
import struct
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest

from agentws.backends.sqlite import SQLiteStore
from agentws.backends.sqlite import sockets as sqlite_sockets
from agentws.backends.sqlite.bus import SQLiteBus
from agentws.backends.sqlite.sockets import BACKLOG, LARGEST, SocketFiles
from agentws.testing.contract_base import eventually
from agentws.testing.contracts import BusContract
from tests.processes import ROOT

OTHER = Path(__file__).with_name("other_process.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "chat.sqlite3"
    path.touch()
    return path


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SQLiteBus]:
    bus = SQLiteBus(path)
    await bus.open()
    yield bus
    await bus.close()


@pytest.fixture
async def bus(path: Path) -> AsyncIterator[SQLiteBus]:
    async with opened(path) as bus:
        yield bus


@pytest.fixture
async def peer(path: Path, bus: SQLiteBus) -> AsyncIterator[SQLiteBus]:
    async with opened(path) as peer:
        yield peer


class TestSQLiteBus(BusContract):
    @pytest.fixture
    async def bus(self, path: Path) -> AsyncIterator[SQLiteBus]:
        async with opened(path) as bus:
            yield bus

    @pytest.fixture
    async def peer(self, path: Path, bus: SQLiteBus) -> AsyncIterator[SQLiteBus]:
        async with opened(path) as peer:
            yield peer


async def until(condition: Callable[[], object]) -> None:
    async def holds() -> bool:
        return bool(condition())

    await eventually(holds)


def listen(bus: SQLiteBus, channel: str = "c") -> list[bytes]:
    received: list[bytes] = []
    bus.subscribe(channel, lambda _, payload: received.append(payload))
    return received


async def connected(one: SQLiteBus, other: SQLiteBus) -> None:
    """Returns when each bus receives what the other publishes."""
    for writer, reader in ((one, other), (other, one)):
        received = listen(reader, "connected")

        def arrives(writer: SQLiteBus = writer, received: list[bytes] = received) -> bool:
            writer.publish("connected", b"")
            return bool(received)

        await until(arrives)


def sockets(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir() if "-bell-" in each.name)


# Other processes


@asynccontextmanager
async def other_process(path: Path, task: str = "answer") -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(OTHER), task, str(path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None and process.stdin is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield process
        if process.returncode is None:
            process.stdin.close()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def first_answer(bus: SQLiteBus, answers: list[bytes]) -> None:
    """Publishes until there is an answer: the other process connects back a moment later."""

    def answered() -> bool:
        bus.publish("questions", b"ready?")
        return bool(answers)

    await until(answered)


async def ask(bus: SQLiteBus, answers: list[bytes], question: bytes) -> None:
    """Publishes once."""
    bus.publish("questions", question)
    await until(lambda: question in answers)


async def test_messages_go_both_ways_between_two_processes(bus: SQLiteBus, path: Path) -> None:
    answers = listen(bus, "answers")
    async with other_process(path):
        await first_answer(bus, answers)
        await ask(bus, answers, b"once")
        assert answers.count(b"once") == 1
    assert len(sockets(path)) == 1


async def test_a_message_of_a_mebibyte_reaches_another_process(bus: SQLiteBus, path: Path) -> None:
    answers = listen(bus, "answers")
    large = os.urandom(1024) * 1024
    async with other_process(path):
        await first_answer(bus, answers)
        await ask(bus, answers, large)


async def test_the_socket_of_a_killed_process_is_removed_by_the_next_one(
    bus: SQLiteBus, path: Path
) -> None:
    answers = listen(bus, "answers")
    async with other_process(path) as process:
        await first_answer(bus, answers)
        process.kill()
        await process.wait()
    bus.publish("questions", b"is anybody there?")
    (left,) = set(sockets(path)) - {f"chat.sqlite3-bell-{own_name(bus)}"}
    os.utime(path.parent / left, (0, time.time() - 60))
    async with opened(path) as newcomer:
        assert left not in sockets(path)
        await connected(bus, newcomer)


async def test_a_socket_that_does_not_listen_yet_is_not_removed(path: Path) -> None:
    starting = path.with_name(f"chat.sqlite3-bell-{'0' * 16}")
    with closing(socket.socket(socket.AF_UNIX)) as unready:
        unready.bind(str(starting))
        async with opened(path):
            assert starting.exists()


async def test_a_frozen_process_delays_no_other_and_has_a_bounded_backlog(
    bus: SQLiteBus, peer: SQLiteBus, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await connected(bus, peer)
    received, answers = listen(peer), listen(bus, "answers")
    async with other_process(path) as process:
        await first_answer(bus, answers)
        process.send_signal(signal.SIGSTOP)
        for number in range(40):
            bus.publish("c", b"%d" % number + bytes(BACKLOG // 8))
            await until(partial(has_more_than, received, number))
        assert "reads too slowly" in caplog.text
        assert max(connection_backlogs(bus)) < 2 * BACKLOG
        process.send_signal(signal.SIGCONT)
        await until(lambda: not any(connection_backlogs(bus)))
        await ask(bus, answers, b"awake?")


async def test_a_forked_child_leaves_the_socket_of_its_parent_alone(
    bus: SQLiteBus, path: Path
) -> None:
    answers = listen(bus, "answers")
    async with other_process(path, "fork"):
        assert len(sockets(path)) == 2
        await first_answer(bus, answers)


def has_more_than(received: list[bytes], number: int) -> bool:
    return len(received) > number


def own_name(bus: SQLiteBus) -> str:
    assert bus._mesh is not None
    return bus._mesh._files.own


def connection_backlogs(bus: SQLiteBus) -> list[int]:
    assert bus._mesh is not None
    return [len(connection._backlog) for connection in bus._mesh._outgoing.values()]


# In one process


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
            done, _ = await asyncio.wait({closing_bus}, timeout=0.1 if cancelled else 5)
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


@pytest.mark.parametrize(
    "garbage",
    [struct.pack("!HI", 0, LARGEST + 1), struct.pack("!HI", 1, 0) + b"\xff"],
    ids=["too-large", "no-text"],
)
async def test_a_connection_that_sends_garbage_is_closed(
    bus: SQLiteBus, peer: SQLiteBus, path: Path, garbage: bytes
) -> None:
    await connected(bus, peer)
    reader, writer = await asyncio.open_unix_connection(
        path.with_name(f"chat.sqlite3-bell-{own_name(bus)}")
    )
    writer.write(garbage)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    await connected(bus, peer)


async def test_a_hello_names_only_sockets_beside_the_database(bus: SQLiteBus, path: Path) -> None:
    elsewhere = await asyncio.start_unix_server(lambda *_: None, path.parent / "elsewhere")
    _, writer = await asyncio.open_unix_connection(
        path.with_name(f"chat.sqlite3-bell-{own_name(bus)}")
    )
    received = listen(bus)
    hello = b"/../elsewhere"
    writer.write(struct.pack("!HI", 0, len(hello)) + hello + struct.pack("!HI", 1, 0) + b"c")
    await until(lambda: received)
    assert connection_backlogs(bus) == []
    writer.close()
    await writer.wait_closed()
    elsewhere.close()
    await elsewhere.wait_closed()


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o644, 0o666])
@pytest.mark.parametrize("umask", [0, 0o077])
def test_a_socket_is_writable_only_for_users_who_can_write_to_the_database(
    path: Path, mode: int, umask: int
) -> None:
    path.chmod(mode)
    before = os.umask(umask)
    try:
        files = SocketFiles(str(path))
    finally:
        os.umask(before)
    with closing(files):
        (own,) = sockets(path)
        found = path.with_name(own).stat()
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (mode, path.stat().st_gid)


def test_a_socket_of_another_group_gives_that_group_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    path.chmod(0o664)
    monkeypatch.setattr(os, "chown", refuse)
    with closing(SocketFiles(str(path))):
        (own,) = sockets(path)
        assert stat.S_IMODE(path.with_name(own).stat().st_mode) == 0o604


@pytest.mark.parametrize(
    ("mode", "same_group", "is_connected"),
    [(0o600, True, False), (0o640, False, False), (0o640, True, True), (0o604, False, True)],
)
def test_nothing_is_sent_to_a_user_who_may_not_read_the_database(
    path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, same_group: bool, is_connected: bool
) -> None:
    def as_another_user(file: str) -> os.stat_result:
        found = list(os.stat(file, follow_symlinks=False))
        found[stat.ST_UID] += 1
        found[stat.ST_GID] += not same_group
        return os.stat_result(found)

    path.chmod(mode)
    planted = path.with_name(f"chat.sqlite3-bell-{'0' * 16}")
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(planted))
        listening.listen()
        monkeypatch.setattr(os, "lstat", as_another_user)
        with closing(SocketFiles(str(path))) as files:
            connection = files.connect("0" * 16)
            assert (connection is not None) == is_connected
            if connection is not None:
                connection.close()


async def test_a_socket_that_may_not_be_written_to_is_reported(
    path: Path, bus: SQLiteBus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> socket.socket:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(SocketFiles, "_connected", refuse)
    async with opened(path):
        assert caplog.text.count("may not write to") == 1
    assert own_name(bus) in caplog.text


async def test_connecting_is_retried_after_the_process_ran_out_of_descriptors(
    path: Path, bus: SQLiteBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = sqlite_sockets._new_socket, []

    def exhausted() -> socket.socket:
        tries.append(time.monotonic())
        if len(tries) == 2:
            raise OSError(24, "Too many open files")
        return real()

    monkeypatch.setattr("agentws.backends.sqlite.bus._PAUSE", 0.1)
    monkeypatch.setattr(sqlite_sockets, "_new_socket", exhausted)
    async with opened(path) as peer:
        await connected(bus, peer)
    assert tries[2] - tries[1] >= 0.09


async def test_accepting_is_retried_after_the_process_ran_out_of_descriptors(
    bus: SQLiteBus, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bus._mesh is not None
    files, real = bus._mesh._files, bus._mesh._files.listening
    tries: list[float] = []

    class Exhausted:
        def fileno(self) -> int:
            return real.fileno()

        def accept(self) -> tuple[socket.socket, str]:
            tries.append(time.monotonic())
            if len(tries) == 1:
                raise OSError(24, "Too many open files")
            return real.accept()

    monkeypatch.setattr("agentws.backends.sqlite.bus._PAUSE", 0.1)
    monkeypatch.setattr(files, "listening", Exhausted())
    async with opened(path) as peer:
        await connected(bus, peer)
    assert tries[1] - tries[0] >= 0.09
    monkeypatch.undo()


async def test_a_path_longer_than_a_socket_address_works_on_linux(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 40)
    folder.mkdir()
    path = folder / "chat.sqlite3"
    path.touch()
    async with opened(path) as one, opened(path) as other:
        await connected(one, other)
        assert len(sockets(path)) == 2
    assert sockets(path) == []


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


def test_the_name_of_a_socket_is_unique(path: Path) -> None:
    files = [SocketFiles(str(path)) for _ in range(3)]
    assert len(sockets(path)) == 3
    assert all(len(each.others()) == 2 for each in files)
    for each in files:
        each.close()
