"""The store and the bus in an SQLite file, for the processes of one host."""

from __future__ import annotations

from .store import SQLiteStore

__all__ = ["SQLiteStore"]
