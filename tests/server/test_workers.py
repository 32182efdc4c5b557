"""The supervisor of worker processes, where workers do not start or do not end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import processes

HERE = Path(__file__).parent
SEARCH = 10.0
"""Seconds in which each worker answers at least one request."""


class Supervised(processes.Server):
    """Two workers; they are broken by files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(
            str(HERE / "supervised.py"), "{port}", folder=folder, output_file=folder / "output.txt"
        )

    def answers(self) -> bool:
        return len(self.pids(2)) == 2

    def pids(self, most: int = 2) -> set[int]:
        """The workers that answer now; stops once ``most`` have.

        For so long, since on an idle machine the same worker accepts most of the connections.
        """
        found: set[int] = set()
        deadline = time.monotonic() + SEARCH
        while len(found) < most and time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://{self.host}/", timeout=5) as response:
                    found.add(int(response.read()))
            except OSError:
                time.sleep(0.02)
        return found

    def wait_until(self, condition: Callable[[], bool]) -> None:
        processes.wait_until(condition, lambda: self.output)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    with Supervised(tmp_path) as server:
        yield server


def test_a_worker_that_fails_to_start_is_tried_again_while_another_serves(
    supervised: Supervised,
) -> None:
    killed, survivor = supervised.pids()
    (supervised.folder / "broken").touch()
    os.kill(killed, signal.SIGKILL)
    supervised.wait_until(lambda: supervised.output.count("before it served; trying again") > 1)
    assert supervised.pids(1) == {survivor}
    (supervised.folder / "broken").unlink()
    supervised.wait_until(lambda: supervised.pids() > {survivor})
    assert supervised.stop() == -signal.SIGTERM


def test_a_restart_whose_workers_can_not_start_keeps_the_old_ones(supervised: Supervised) -> None:
    before = supervised.pids()
    (supervised.folder / "broken").touch()
    supervised.process.send_signal(signal.SIGHUP)
    supervised.wait_until(lambda: "before it served" in supervised.output)
    assert supervised.pids() == before


def test_a_worker_that_does_not_end_in_time_is_killed(supervised: Supervised) -> None:
    (supervised.folder / "stuck").touch()
    assert supervised.stop() == -signal.SIGTERM
    assert supervised.output.count("did not end in time and is killed") == 2


def test_workers_end_when_none_can_start(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    server = Supervised(tmp_path)
    with pytest.raises(AssertionError, match="before it served; stopping"):
        server.start()
    assert server.process.returncode == 3
    assert server.output.count("before it served; stopping") == 1


FIRST_WORKER = """
import sys
from agentws.server import workers

blocked = "import signal, sys; sys.exit(7 * (signal.SIGINT in signal.pthread_sigmask(0, [])))"
with workers._interrupt_blocked():
    worker = workers._spawn.Process(target=exec, args=(blocked,))
    worker.start()
worker.join()
sys.exit(worker.exitcode)
"""


def test_the_first_worker_starts_with_sigint_blocked() -> None:
    """With the first process Python starts one of its own, and unblocks SIGINT after that."""
    assert subprocess.run([sys.executable, "-c", FIRST_WORKER], timeout=30).returncode == 7
