"""The sockets beside an SQLite file: their names and modes, who connects, what is refused."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
import time
from contextlib import closing
from pathlib import Path

import pytest

from agentws.backends.sqlite import sockets as sqlite_sockets
from agentws.backends.sqlite.bus import SQLiteBus
from agentws.backends.sqlite.sockets import LARGEST, SocketFiles

from .buses import connected, connection_backlogs, listen, opened, own_name, sockets, until


async def test_a_socket_that_does_not_listen_yet_is_not_removed(path: Path) -> None:
    starting = path.with_name(f"chat.sqlite3-bell-{'0' * 16}")
    with closing(socket.socket(socket.AF_UNIX)) as unready:
        unready.bind(str(starting))
        async with opened(path):
            assert starting.exists()


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


def test_the_name_of_a_socket_is_unique(path: Path) -> None:
    files = [SocketFiles(str(path)) for _ in range(3)]
    assert len(sockets(path)) == 3
    assert all(len(each.others()) == 2 for each in files)
    for each in files:
        each.close()
