"""What a node's process holds, and how soon it answers `/health`, while a scenario lasts.

A node that keeps memory or descriptors of clients and sessions that are gone is found by
:func:`check_returned`, one whose event loop is blocked by :func:`check_answers`.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from tests.cluster.nodes import Node

MEBIBYTE: Final = 1024 * 1024
WITHIN: Final = 0.1
"""How far a node may be above its baseline: this part of it, and the spare below."""
SPARE_MEMORY: Final = 64 * MEBIBYTE
"""What is not freed, and bounded: libpq keeps room for the largest answer of each connection."""
SPARE_DESCRIPTORS: Final = 10
"""Connections of a pool that was not full at the baseline."""
SLOW: Final = 0.25
"""Seconds in which 99 of 100 answers of `/health` have to come."""
BUSY: Final = 3
"""How many times slower an answer may be here: tests share the cores with everything they start."""
EVERY: Final = 0.1
"""Seconds between two requests to one node."""
GIVE_UP: Final = 5.0
"""Seconds after which a request counts as one that took so long."""
REQUEST: Final = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


class Vitals(NamedTuple):
    """What a process holds."""

    resident: int
    """Bytes of memory."""
    descriptors: int
    """Open files and sockets."""


def vitals(node: Node) -> Vitals:
    return Vitals(node.resident(), node.descriptors())


def baseline(nodes: Iterable[Node]) -> Vitals:
    """The most that one of them holds: all run the same program."""
    found = [vitals(node) for node in nodes]
    return Vitals(max(one.resident for one in found), max(one.descriptors for one in found))


def excess(now: Vitals, before: Vitals) -> str | None:
    """What is above the baseline, in words; ``None`` if nothing is."""
    memory = before.resident * (1 + WITHIN) + SPARE_MEMORY
    if now.resident > memory:
        return f"{now.resident / MEBIBYTE:.0f} MiB, of {before.resident / MEBIBYTE:.0f} before"
    if now.descriptors > before.descriptors * (1 + WITHIN) + SPARE_DESCRIPTORS:
        return f"{now.descriptors} descriptors, of {before.descriptors} before"
    return None


def check_returned(nodes: Iterable[Node], before: Vitals, *, within: float) -> None:
    """Raises AssertionError for a node that holds too much ``within`` seconds after a scenario.

    It may take a moment until connections are closed and sessions are evicted.
    """
    end = time.monotonic() + within
    for node in nodes:
        while (more := excess(vitals(node), before)) is not None:
            assert time.monotonic() < end, f"node {node.name} still holds {more}"
            node.trim()
            time.sleep(0.2)


def check_answers(answers: Sequence[float], *, slow: float = SLOW * BUSY) -> float:
    """The 99th percentile of these seconds; raises AssertionError if that is ``slow``.

    One of a few answers may be late.
    """
    if not answers:
        return 0.0
    late = max(1, len(answers) // 100)
    percentile = sorted(answers)[-1 - min(late, len(answers) - 1)]
    assert percentile < slow, (
        f"/health took {percentile:.2f} s at the 99th percentile of {len(answers)} answers"
    )
    return percentile


class HealthChecks:
    """Asks these nodes for `/health` all the time, as an orchestrator does.

    A context manager; ``answers`` has the seconds of each answer, without those for which the node
    or the asking thread could run and got no core: a busy machine is not what is tested. In
    threads, as the event loop of the test may be busy. A node that is dead or frozen is not
    expected to answer.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.answers: list[float] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(node,)) for node in nodes]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, node: Node) -> None:
        while not self._ended.wait(EVERY):
            disturbed = node.disturbed
            if not node.steady:
                continue
            queued = _queued(node)
            seconds = _ask(node.port)
            if seconds is not None and node.disturbed == disturbed:
                self.answers.append(max(0.0, seconds - (_queued(node) - queued)))


def _queued(node: Node) -> float:
    """Seconds for which the node's event loop and this thread have waited for a core so far."""
    own = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    return _waited(own) + _waited(Path(f"/proc/{node.process.pid}/schedstat"))


def _waited(schedstat: Path) -> float:
    try:
        return int(schedstat.read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        # The process has ended, or the system does not count this.
        return 0.0


def _ask(port: int) -> float | None:
    """The seconds of one request; ``None`` if nobody listens or the connection breaks."""
    begun = time.monotonic()
    with suppress(ConnectionError):
        with socket.create_connection(("127.0.0.1", port), timeout=GIVE_UP) as connection:
            connection.sendall(
                b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
            )
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                return GIVE_UP
        if answer.startswith(b"HTTP/1.1 200 "):
            return time.monotonic() - begun
    return None
