"""The store that a URL names. Apart from the servers of stores, which the nodes need not import."""

from __future__ import annotations

from agentws import SQLiteStore
from agentws.store import Store


def store_at(url: str) -> Store:
    match url.partition(":")[0]:
        case "redis":
            from agentws.backends.redis import RedisStore

            return RedisStore(url)
        case "postgresql":
            from agentws.backends.postgres import PostgresStore

            return PostgresStore(url)
        case _:
            return SQLiteStore(url)
