"""Where the store of a server is."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ...backends.memory import MemoryStore
from ...backends.sqlite import SQLiteStore
from ...store import Store


class StoreAddress(msgspec.Struct, frozen=True, kw_only=True):
    """The kind of a store, and where it is: at a URL or in a folder."""

    kind: str
    url: str = ""
    namespace: str = ""
    """Separates the sessions of one measurement from all others in the same database."""
    folder: str = ""

    def store(self) -> Store:
        if self.kind == "sqlite":
            return SQLiteStore(Path(self.folder) / "bench.sqlite3")
        if self.kind == "redis":
            from ...backends.redis import RedisStore

            return RedisStore(self.url, namespace=self.namespace)
        if self.kind == "postgres":
            from ...backends.postgres import PostgresStore

            return PostgresStore(self.url, schema=self.namespace)
        return MemoryStore()
