"""The checks of a node's vitals find what they look for."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass
from typing import cast

import pytest

from tests.cluster.nodes import Node
from tests.cluster.vitals import (
    MEBIBYTE,
    HealthChecks,
    Vitals,
    check_answers,
    check_returned,
    excess,
)

BEFORE = Vitals(60 * MEBIBYTE, 24)


@dataclass
class Process:
    """What the checks use of a node."""

    holds: Vitals = BEFORE
    name: str = "a"
    pid: int = 0
    port: int = 0
    disturbed: int = 0
    steady: bool = True

    def resident(self) -> int:
        return self.holds.resident

    def trim(self) -> None:
        pass

    def descriptors(self) -> int:
        return self.holds.descriptors

    @property
    def process(self) -> Process:
        return self

    @property
    def node(self) -> Node:
        return cast(Node, self)


@pytest.mark.parametrize(
    ("holds", "what"),
    [
        (Vitals(160 * MEBIBYTE, 24), "160 MiB, of 60 before"),
        (Vitals(60 * MEBIBYTE, 60), "60 descriptors, of 24 before"),
    ],
)
def test_a_node_that_keeps_what_is_gone_is_found(holds: Vitals, what: str) -> None:
    with pytest.raises(AssertionError, match=what):
        check_returned([Process().node, Process(holds).node], BEFORE, within=0.2)


def test_a_node_that_holds_as_much_as_before_passes() -> None:
    assert excess(Vitals(65 * MEBIBYTE, 26), BEFORE) is None
    check_returned([Process().node], BEFORE, within=0.0)


def test_slow_answers_are_found_and_one_of_a_hundred_may_be_slow() -> None:
    assert check_answers([0.01] * 99 + [3.0]) == 0.01
    assert check_answers([]) == 0.0
    with pytest.raises(AssertionError, match="/health took 3.00 s"):
        check_answers([0.01] * 98 + [3.0, 3.0])


def test_a_late_answer_is_measured_and_a_dead_node_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as late:
        port = late.getsockname()[1]
        late.settimeout(10)
        with HealthChecks([Process(port=port).node]) as checks:
            connection, _ = late.accept()
            threading.Event().wait(0.5)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            connection.close()
    assert max(checks.answers) >= 0.4
    with HealthChecks([Process(port=port).node, Process(steady=False).node]) as checks:
        threading.Event().wait(0.3)
    assert checks.answers == []
