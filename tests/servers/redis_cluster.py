"""A Redis cluster for tests: primaries, each a process of its own, and replicas if asked for."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.ports import free_port
from tests.servers.redis import PATIENCE, REDIS, RedisServer

SLOTS: Final = 16384
_BUS: Final = 10_000
"""A server's port for the others of its cluster is its own plus this number."""


class RedisCluster:
    """``size`` servers that share the slots; a context manager that starts and kills them."""

    def __init__(self, folder: Path, *, size: int = 3, kind: str = REDIS) -> None:
        self._folder = folder
        self._kind = kind
        self.servers = [self._server(str(number)) for number in range(size)]
        self.replicas: list[RedisServer] = []

    def _server(self, name: str) -> RedisServer:
        settings = {"cluster-enabled": "yes", "cluster-node-timeout": "10000"}
        return RedisServer(self._folder / name, kind=self._kind, settings=settings)

    @property
    def url(self) -> str:
        return self.servers[0].url

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._kill()

    def _start(self) -> None:
        for number, server in enumerate(self.servers):
            server.port = _free_port()
            server.start()
            share = SLOTS // len(self.servers) + 1
            slots = range(number * share, min(SLOTS, (number + 1) * share))
            assert (
                server.command(f"CLUSTER ADDSLOTS {' '.join(map(str, slots))}") == "+OK\r\n+OK\r\n"
            )
            # Different from the others', as a tool that makes clusters sets them.
            server.command(f"CLUSTER SET-CONFIG-EPOCH {number + 1}")
        for server in self.servers[1:]:
            server.command(f"CLUSTER MEET 127.0.0.1 {self.servers[0].port}")
        self.wait_until_whole()

    def add_replica(self, of: RedisServer) -> RedisServer:
        """A server that has copied that one, and takes over its slots when it is away."""
        server = self._server(f"replica-{len(self.replicas)}")
        server.port = _free_port()
        self.replicas.append(server)
        server.start()
        server.command(f"CLUSTER MEET 127.0.0.1 {of.port}")
        self.wait_until_whole()
        assert server.command(f"CLUSTER REPLICATE {id_of(of)}").startswith("+OK")
        wait_for_copy(server)
        return server

    def wait_until_whole(self) -> None:
        """Returns when all servers know each other, and none is thought to have failed."""
        deadline = time.monotonic() + PATIENCE
        while not all(self._is_whole(server) for server in (*self.servers, *self.replicas)):
            assert time.monotonic() < deadline, "the servers did not become a cluster"
            time.sleep(0.02)

    def _is_whole(self, server: RedisServer) -> bool:
        info = server.command("CLUSTER INFO")
        known = f"cluster_known_nodes:{len(self.servers) + len(self.replicas)}"
        return "cluster_state:ok" in info and known in info

    def _kill(self) -> None:
        for server in (*self.servers, *self.replicas):
            if server.port:
                server.kill()

    def move(self, slot: int, to: RedisServer) -> None:
        """Moves a slot with its keys to that server, as a tool that balances a cluster does."""
        source, target = self.owner(slot), id_of(to)
        to.command(f"CLUSTER SETSLOT {slot} IMPORTING {id_of(source)}")
        source.command(f"CLUSTER SETSLOT {slot} MIGRATING {target}")
        self.move_keys(slot, source, to)
        for server in (to, source, *self.servers):
            server.command(f"CLUSTER SETSLOT {slot} NODE {target}")

    def move_keys(
        self, slot: int, source: RedisServer, to: RedisServer, *, most: int = 100_000
    ) -> None:
        for key in _texts(source.command(f"CLUSTER GETKEYSINSLOT {slot} {most}")):
            assert "OK" in source.command(f"MIGRATE 127.0.0.1 {to.port} {key} 0 5000")

    def owner(self, slot: int) -> RedisServer:
        for server in self.servers:
            if _has(server, slot):
                return server
        raise AssertionError(f"no server has slot {slot}")


def wait_for_copy(replica: RedisServer) -> None:
    """Returns when it has copied its primary."""
    deadline = time.monotonic() + PATIENCE
    while "master_link_status:up" not in replica.command("INFO replication"):
        assert time.monotonic() < deadline, "the replica did not copy its primary"
        time.sleep(0.02)


def id_of(server: RedisServer) -> str:
    return _texts(server.command("CLUSTER MYID"))[0]


def _has(server: RedisServer, slot: int) -> bool:
    mine = next(line for line in server.command("CLUSTER NODES").splitlines() if "myself" in line)
    ranges = [part for part in mine.split()[8:] if not part.startswith("[")]
    return any(
        int(first) <= slot <= int(last or first)
        for first, _, last in (one.partition("-") for one in ranges)
    )


def _texts(reply: str) -> list[str]:
    """The bulk strings in a raw reply."""
    lines = reply.split("\r\n")
    return [text for size, text in zip(lines, lines[1:], strict=False) if size.startswith("$")]


def _free_port() -> int:
    """A port whose other port, for the cluster, is free too."""
    while True:
        port = free_port()
        with socket.socket() as bus:
            try:
                bus.bind(("127.0.0.1", port + _BUS))
            except OSError:
                continue
            return port
