"""The preset under attack by raw sockets; other clients are served meanwhile.

``agentws bench --attacks`` measures the same attacks for longer, and stock uvicorn too.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentws.bench.attacks.cost import AttackedServer, HealthWatch, health
from agentws.bench.attacks.hostile_peers import ATTACKS, attack
from tests.ports import free_port
from tests.processes import wait_until

SECONDS = 0.8
PEERS = 10
# Figures of a quiet machine are in docs/deploy.md. Here others may be at work: stock uvicorn takes
# seconds for the worst of them, and hundreds of megabytes.
HIGHEST = 1500.0
MEMORY = 40e6
EXIT = 12.0

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def attacked() -> Iterator[AttackedServer]:
    with AttackedServer("preset") as server:
        yield server


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_delays_nobody_for_long_and_costs_little_memory(
    attacked: AttackedServer, name: str
) -> None:
    before = attacked.resident()
    with HealthWatch(attacked) as watch:
        attack(name, attacked.port, SECONDS, PEERS, ended=lambda lasted: None)
    assert watch.quantile(1.0) < HIGHEST
    assert max(watch.resident) - before < MEMORY


def test_a_shutdown_ends_in_time_under_all_attacks_at_once() -> None:
    with AttackedServer("preset") as server:
        attacks = [
            threading.Thread(
                target=attack,
                args=(name, server.port, 5.0, 2),
                kwargs={"ended": lambda lasted: None},
                daemon=True,
            )
            for name in ATTACKS
        ]
        for one in attacks:
            one.start()
        time.sleep(1.5)
        assert health(server.port) < HIGHEST / 1000
        exit = server.stop()
    assert exit is not None and exit < EXIT
    for one in attacks:
        one.join(20)


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from agentws.bench.attacks.server import main
main(["preset", sys.argv[1]])
"""


def test_a_server_without_free_file_descriptors_recovers(tmp_path: Path) -> None:
    port = free_port()
    with (tmp_path / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", LIMITED, str(port)], stdout=output, stderr=output
        )
    try:
        wait_until(lambda: answers(port))
        with contextlib.ExitStack() as opened:
            for _ in range(200):
                client = socket.socket()
                opened.enter_context(client)
                client.settimeout(5)
                # Some are never accepted: the system has a queue of its own.
                with contextlib.suppress(OSError):
                    client.connect(("127.0.0.1", port))
            time.sleep(1)
            assert process.poll() is None
        wait_until(lambda: answers(port))
        assert process.poll() is None
        process.terminate()
        process.wait(20)
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        return health(port) >= 0
    return False
