"""Where the store of a measurement is."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..backends.memory import MemoryStore
from ..backends.sqlite import SQLiteStore
from ..store import Store


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a store is. ``space`` separates the sessions of one measurement from all others."""

    kind: str
    address: str = ""
    space: str = ""
    folder: str = ""

    def store(self) -> Store:
        if self.kind == "sqlite":
            return SQLiteStore(Path(self.folder) / "bench.sqlite3")
        if self.kind == "redis":
            from ..backends.redis import RedisStore

            return RedisStore(self.address, namespace=self.space)
        if self.kind == "postgres":
            from ..backends.postgres import PostgresStore

            return PostgresStore(self.address, schema=self.space)
        return MemoryStore()
