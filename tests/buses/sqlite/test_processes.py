"""The bus between the processes that share an SQLite file."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from agentws.backends.sqlite.bus import SQLiteBus
from agentws.backends.sqlite.sockets import BACKLOG
from tests.processes import ROOT

from .buses import connected, connection_backlogs, listen, opened, own_name, sockets, until

OTHER = Path(__file__).with_name("other_process.py")


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
