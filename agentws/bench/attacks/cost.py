"""What attacks cost a server, for stock uvicorn and for the preset. Linux only.

Each attack runs against a new server on one core, from a process on another. Meanwhile `/health` is
asked every few milliseconds, and the server's memory is watched. At the end of the attack the
server gets a SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from .. import resources
from .hostile_peers import ATTACKS

KINDS: Final = ("stock", "preset")
START_SECONDS: Final = 20.0
EXIT_SECONDS: Final = 30.0
WARM_UP: Final = 0.5
"""Seconds in which `/health` is asked before the attack begins; those answers are not counted."""


class Result(NamedTuple):
    """What an attack has cost: times of `/health` in milliseconds, memory in MB."""

    attack: str
    server: str
    median: float
    p99: float
    highest: float
    memory: float
    """How much the server's resident memory has grown at most."""
    freed: float | None
    """Seconds until the server had ended the first connection of each peer, if it has."""
    exit: float | None
    """Seconds from SIGTERM under attack to the end of the process, if it has ended."""


class AttackedServer:
    """A server process to be attacked."""

    def __init__(self, kind: str, core: int | None = None) -> None:
        self.port = free_port()
        command = (sys.executable, "-m", "agentws.bench.attacks.server", kind, str(self.port))
        self.process = subprocess.Popen(command)
        if core is not None:
            resources.pin(self.process.pid, core)

    def __enter__(self) -> AttackedServer:
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > end or self.process.poll() is not None:
                self.process.kill()
                raise RuntimeError("the server did not start")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return health(self.port) >= 0
        return False

    def resident(self) -> int:
        """Its resident memory, in bytes."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> float | None:
        """Ends it by SIGTERM; the seconds that this took, `None` if it had to be killed."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        return time.monotonic() - begun


class HealthWatch:
    """Asks `/health` of a server and reads its memory, in a thread."""

    def __init__(self, server: AttackedServer) -> None:
        self.times: list[float] = []
        self.resident: list[int] = []
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask_repeatedly, daemon=True)

    def __enter__(self) -> HealthWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask_repeatedly(self) -> None:
        while not self._over.is_set():
            # Not answered: it counts with the time that it was waited for.
            with contextlib.suppress(OSError), connect(self._server.port) as client:
                while not self._over.wait(0.005):
                    begun = time.monotonic()
                    try:
                        ask(client)
                    finally:
                        self.times.append(time.monotonic() - begun)
                        self.resident.append(self._server.resident())

    def quantile(self, part: float) -> float:
        """A quantile of the times, in milliseconds."""
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1000


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def ask(client: socket.socket) -> None:
    """One request of `/health`; raises OSError when it is not answered."""
    client.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    read = b""
    while b"}" not in read:
        piece = client.recv(4096)
        if not piece:
            raise ConnectionError("the server has closed the connection")
        read += piece


def health(port: int) -> float:
    """The seconds of one request on a new connection."""
    begun = time.monotonic()
    with connect(port) as client:
        ask(client)
    return time.monotonic() - begun


def measured(attack: str, kind: str, seconds: float, peers: int, core: int | None = None) -> Result:
    """Run one attack against a new server."""
    with AttackedServer(kind, core) as server, HealthWatch(server) as watch:
        time.sleep(WARM_UP)
        before = max(watch.resident)
        watch.times.clear()
        # It goes on while the server ends.
        arguments = (attack, str(server.port), str(seconds + EXIT_SECONDS), str(peers))
        command = (sys.executable, "-m", "agentws.bench.attacks.attacker", *arguments)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attacking:
            assert attacking.stdout is not None
            attacking.stdout.readline()
            time.sleep(seconds)
            watch.__exit__()
            stopped = server.stop()
            attacking.kill()
            lasted = [float(line) for line in attacking.stdout]
    ended = [one for one in lasted if one < seconds]
    freed = max(ended) if len(ended) == peers else None
    return Result(
        attack,
        kind,
        watch.quantile(0.5),
        watch.quantile(0.99),
        watch.quantile(1.0),
        (max(watch.resident) - before) / 1e6,
        freed,
        stopped,
    )


def table(results: Sequence[Result]) -> str:
    """The results as a table in Markdown, the servers of one attack side by side."""
    lines = [
        "| attack | server | /health p50 | p99 | max | memory | freed after | SIGTERM |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        cells = [
            ATTACKS[one.attack].title,
            one.server,
            *(f"{value:.1f} ms" for value in (one.median, one.p99, one.highest)),
            f"+{one.memory:.0f} MB",
            "not" if one.freed is None else f"{one.freed:.1f} s",
            f"killed after {EXIT_SECONDS:.0f} s" if one.exit is None else f"{one.exit:.1f} s",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def run(
    seconds: float,
    *,
    peers: int = 10,
    attacks: Sequence[str] = tuple(ATTACKS),
    kinds: Sequence[str] = KINDS,
) -> int:
    """Run the attacks one after the other; print their table. Returns 0."""
    cores = resources.cores()
    resources.pin(0, cores[-1])
    results = []
    for name in attacks:
        for kind in kinds:
            results.append(measured(name, kind, seconds, peers, cores[0]))
            print(results[-1], file=sys.stderr, flush=True)
    print(table(results))
    return 0
