"""Nodes of one cluster, each a real process over the same store: killed, frozen, restarted."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agentws.backends.sqlite.path import database_path
from agentws.protocol.codec import Record
from agentws.testing.oracle import read_log
from tests.cluster.urls import store_at
from tests.processes import Server, halt, is_healthy, is_running, suspend

HERE = Path(__file__).parent
NAMES = ("a", "b", "c")


class Node(Server):
    """A process of ``service.py``."""

    def __init__(
        self, name: str, store: str, folder: Path, *, skew: float = 0.0, poll: float | None = None
    ) -> None:
        """``skew`` and ``poll`` are those of ``service.py``."""
        env = {"PATH": "/usr/bin:/bin", "SKEW": str(skew)}
        if poll is not None:
            env["POLL"] = str(poll)
        super().__init__(
            "service.py",
            store,
            "{port}",
            name,
            folder=HERE,
            output_file=folder / f"{name}.txt",
            env=env,
        )
        self.name = name
        self.store = store
        self._frozen = False
        self.disturbed = 0
        """Grows when something is done to the process that keeps it from answering."""

    @property
    def steady(self) -> bool:
        """Whether it runs, and nothing keeps it from answering."""
        return self.running and not self._frozen

    @property
    def running(self) -> bool:
        return self.port != 0 and is_running(self.process.pid)

    @property
    def chat(self) -> str:
        """The URL of its chats, without the session."""
        return f"ws://{self.host}/ws/chat"

    def restore(self) -> None:
        """Makes it run, whatever was done to it."""
        if not self.running:
            self.start()
        elif self._frozen:
            self.thaw()

    def start(self) -> None:
        super().start()
        self._frozen = False

    def kill(self) -> None:
        self.disturbed += 1
        super().kill()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.disturbed += 1
        return super().stop(how)

    def freeze(self) -> None:
        """Suspends the process (SIGSTOP), while it holds no lock of an SQLite file."""
        if self._frozen:
            # The system reports a stop once.
            return
        self._frozen = True
        self.disturbed += 1
        if self.store.startswith("sqlite"):
            suspend(self.process, Path(database_path(self.store)))
        else:
            halt(self.process)

    def thaw(self) -> None:
        """Resumes a frozen process (SIGCONT)."""
        self.process.send_signal(signal.SIGCONT)
        self._frozen = False

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{self.host}/stats", timeout=10) as response:
            decoded: dict[str, Any] = json.loads(response.read())
        return decoded

    def ready(self) -> bool:
        """Whether it takes requests: it is not draining, and reaches its store."""
        return is_healthy(f"http://{self.host}/readyz")

    def resident(self) -> int:
        """The bytes of its memory that are resident."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def trim(self) -> None:
        """Makes it return free memory to the system soon."""
        self.process.send_signal(signal.SIGUSR1)

    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Cluster:
    """Three nodes over one store; a context manager that starts and kills them.

    ``stores`` are the URLs by which the nodes reach it, if each has its own.
    """

    def __init__(self, store: str, folder: Path, *, stores: Sequence[str] | None = None) -> None:
        self.store = store
        urls = [store] * len(NAMES) if stores is None else stores
        self.nodes = [Node(name, url, folder) for name, url in zip(NAMES, urls, strict=True)]

    def __enter__(self) -> Self:
        try:
            self.restore()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def other_than(self, node: Node) -> Node:
        return next(other for other in self.nodes if other is not node)

    def restore(self) -> None:
        """Starts or resumes every node that does not run."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(Node.restore, self.nodes))

    def kill(self) -> None:
        for node in self.nodes:
            if node.running:
                node.kill()

    def check_output(self) -> None:
        """No node has logged a traceback."""
        for node in self.nodes:
            assert "Traceback" not in node.output, node.output

    async def log(self, session: str) -> tuple[str, list[Record]]:
        """The epoch and the events of a session's log, read from the store."""
        store = store_at(self.store)
        await store.open()
        try:
            return await read_log(store, session)
        finally:
            await store.close()
