"""The keepalive sweep: one timer for all connections, whenever they open and close."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from agentws.server.keepalive import _SLICE, KeepaliveSweep
from agentws.server.opening import CLOSING


class Handle:
    """What an event loop returns for a scheduled callback."""


class FakeLoop:
    """Stores scheduled callbacks; the test calls them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Callable[[], Any]] = []
        self.soon: list[Callable[[], Any]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Any, *args: Any) -> Handle:
        self.timers.append(lambda: callback(*args))
        return Handle()

    def call_soon(self, callback: Any, *args: Any) -> Handle:
        self.soon.append(lambda: callback(*args))
        return Handle()

    def fire(self) -> None:
        timers, self.timers = self.timers, []
        for timer in timers:
            timer()

    def step(self) -> None:
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()

    @property
    def armed(self) -> int:
        """How many sweeps are scheduled or in progress."""
        return len(self.timers) + len(self.soon)


class FakeConnection:
    def __init__(self) -> None:
        self.kept_alive = 0

    def keep_alive(self, *_: Any) -> None:
        self.kept_alive += 1


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


@pytest.fixture
def sweep(loop: FakeLoop) -> KeepaliveSweep:
    return KeepaliveSweep(cast(Any, loop), interval=20.0, timeout=20.0)


def opened(sweep: KeepaliveSweep, count: int) -> list[Any]:
    connections: list[Any] = [FakeConnection() for _ in range(count)]
    for each in connections:
        sweep.add(each)
    return connections


def test_a_connection_that_opens_during_a_sweep_starts_no_second_one(
    sweep: KeepaliveSweep, loop: FakeLoop
) -> None:
    opened(sweep, 3 * _SLICE)
    for _ in range(5):
        loop.fire()
        while loop.soon:
            assert loop.armed == 1
            opened(sweep, 1)
            assert loop.armed == 1
            loop.step()
        assert loop.armed == 1


def test_a_sweep_visits_every_connection_once(sweep: KeepaliveSweep, loop: FakeLoop) -> None:
    connections = opened(sweep, 2 * _SLICE + 1)
    loop.fire()
    while loop.soon:
        loop.step()
    assert [each.kept_alive for each in connections] == [1] * len(connections)


def test_sweeps_stop_with_the_last_connection_and_start_with_the_next(
    sweep: KeepaliveSweep, loop: FakeLoop
) -> None:
    (only,) = opened(sweep, 1)
    sweep.discard(only)
    loop.fire()
    while loop.soon:
        loop.step()
    assert loop.armed == 0 and only.kept_alive == 0
    opened(sweep, 1)
    assert loop.armed == 1


def test_a_connection_that_opens_after_all_others_closed_in_a_sweep_is_kept_alive(
    sweep: KeepaliveSweep, loop: FakeLoop
) -> None:
    (first,) = opened(sweep, 1)
    loop.fire()
    sweep.discard(first)
    opened(sweep, 1)
    while loop.soon:
        loop.step()
    assert loop.armed == 1


def test_a_connection_that_is_closing_is_not_pinged(plain: Any) -> None:
    client = plain.raw("close")
    assert client.frame()[0] == 0x88
    (connection,) = plain.connections()
    assert connection._phase is CLOSING
    before = connection._ping, connection._ping_time
    connection.keep_alive(connection._ping_time + 1e6, 1.0, 1.0, b"ping")
    assert (connection._ping, connection._ping_time) == before
    client.close()
