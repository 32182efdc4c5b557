"""The stores that several nodes may share, each with its server for the time of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit, urlunsplit

from tests.servers.postgres import DURABLE, PostgresServer
from tests.servers.redis import RedisServer

WITH_SERVER = ("redis", "postgres")
STORES = ("sqlite", *WITH_SERVER)


class StoreServer(Protocol):
    """The server of a store, as `tests/servers` starts it."""

    @property
    def url(self) -> str: ...
    @property
    def output(self) -> str: ...

    port: int

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class SharedStore(NamedTuple):
    """A store for the nodes of one cluster: its URL for ``--store``, and its server if it has one.

    Its server loses nothing that it acknowledged when it is killed.
    """

    url: str
    server: StoreServer | None = None

    def through(self, port: int) -> str:
        """Its URL through a proxy that listens on ``port`` of 127.0.0.1."""
        parts = urlsplit(self.url)
        place = f"{parts.username}@" if parts.username else ""
        return urlunsplit(parts._replace(netloc=f"{place}127.0.0.1:{port}"))


@contextmanager
def shared_store(name: str, folder: Path) -> Iterator[SharedStore]:
    match name:
        case "sqlite":
            yield SharedStore(f"sqlite:{folder / 'chat.sqlite3'}")
        case "redis":
            settings = {"appendonly": "yes", "appendfsync": "everysec"}
            with RedisServer(folder / "redis", settings=settings) as redis:
                yield SharedStore(redis.url, redis)
        case "postgres":
            with PostgresServer(DURABLE) as postgres:
                yield SharedStore(postgres.url, postgres)
        case _:
            raise ValueError(f"{name!r} is not a store; expected one of {STORES}")
