"""The store and the bus in a PostgreSQL database, for nodes on several hosts (``postgres``)."""

from __future__ import annotations

try:
    # Every module here needs them, and imports this one first.
    import psycopg as _psycopg  # noqa: F401
    import psycopg_pool as _psycopg_pool  # noqa: F401
except ImportError as error:
    raise ImportError(
        'a store in PostgreSQL needs psycopg: pip install "agentws[postgres]"'
    ) from error

from .bus import PostgresBus
from .store import PostgresStore

__all__ = ["PostgresBus", "PostgresStore"]
