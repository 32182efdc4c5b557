"""The heartbeats of nodes: one row for each node that is alive, until its time has passed."""

from __future__ import annotations

import sqlite3
from typing import Final

from ...store import Node
from .sessions import Clock

_VALID: Final = "expires > ? AND expires <= ? + 2 * ttl"
"""An entry that ends later than is possible was made before the clock was set back; see leases."""


def beat(
    connection: sqlite3.Connection, node: str, instance: str, data: bytes, ttl: float, clock: Clock
) -> bool:
    """Makes or renews the entry; False while another instance has one under this id."""
    now = clock()
    connection.execute(f"DELETE FROM node WHERE NOT ({_VALID})", (now, now))
    changed = connection.execute(
        "INSERT INTO node (id, instance, data, expires, ttl) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE "
        "SET data = excluded.data, expires = excluded.expires, ttl = excluded.ttl "
        "WHERE instance = excluded.instance",
        (node, instance, data, now + ttl, ttl),
    )
    return changed.rowcount == 1


def nodes(connection: sqlite3.Connection, clock: Clock) -> list[Node]:
    now = clock()
    rows = connection.execute(
        f"SELECT id, data FROM node WHERE {_VALID} ORDER BY id", (now, now)
    ).fetchall()
    return [Node(id, bytes(data)) for id, data in rows]


def leave(connection: sqlite3.Connection, node: str, instance: str) -> None:
    connection.execute("DELETE FROM node WHERE id = ? AND instance = ?", (node, instance))
