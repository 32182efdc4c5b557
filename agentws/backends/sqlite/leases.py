"""The operations on leases, which are columns of the session table.

A lease is the right to run a session's agent. Its fencing token is the log's epoch and a counter,
which grows with every new holder; an append under an older token is refused in ``sqlite.log``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from ...errors import NotFound
from ...store import Lease
from .log import as_json
from .sessions import Clock, select_ids


class _LeaseRow(NamedTuple):
    """The lease of a session, valid or not."""

    log: int
    epoch: str
    fence: int
    holder: str | None
    expires: float
    ttl: float

    def is_by(self, owner: str, now: float) -> bool:
        return self.holder == owner and self.expires > now

    def is_valid(self, now: float) -> bool:
        """Whether the holder still has it.

        A lease that ends later than is possible was taken before the clock began anew, when the
        host was started. Its holder is dead, and would block the session for as long as the host
        had been up. The bound is twice the lease's time, for a clock that was only corrected.
        """
        return self.holder is not None and now < self.expires <= now + 2 * self.ttl


def lease(
    connection: sqlite3.Connection, session: str, owner: str, ttl: float, clock: Clock
) -> Lease | None:
    """Takes or renews the lease; a new holder is issued the next fencing token."""
    now, held = clock(), _lease_row(connection, session)
    mine = held.is_by(owner, now)
    if not mine and held.is_valid(now):
        return None
    fence = held.fence if mine else held.fence + 1
    connection.execute(
        "UPDATE session SET holder = ?, expires = ?, ttl = ?, fence = ? WHERE log = ?",
        (owner, now + ttl, ttl, fence, held.log),
    )
    return Lease(session, owner, f"{held.epoch}:{fence}", ttl)


def _lease_row(connection: sqlite3.Connection, session: str) -> _LeaseRow:
    row = connection.execute(
        "SELECT log, epoch, fence, holder, expires, ttl FROM session WHERE id = ?", (session,)
    ).fetchone()
    if row is None:
        raise NotFound("There is no such session.")
    return _LeaseRow(*row)


def renew(
    connection: sqlite3.Connection, owner: str, wanted: Sequence[str], ttl: float, clock: Clock
) -> list[str]:
    now = clock()
    held = select_ids(
        connection,
        "SELECT id FROM session WHERE holder = ? AND expires > ? "
        "AND id IN (SELECT value FROM json_each(?))",
        owner,
        now,
        as_json(list(wanted)),
    )
    connection.execute(
        "UPDATE session SET expires = ?, ttl = ? WHERE id IN (SELECT value FROM json_each(?))",
        (now + ttl, ttl, as_json(held)),
    )
    return held


def release(connection: sqlite3.Connection, lease: Lease) -> None:
    connection.execute(
        "UPDATE session SET holder = NULL "
        "WHERE id = ? AND holder = ? AND epoch || ':' || fence = ?",
        (lease.session, lease.owner, lease.fence),
    )


def unsettled(connection: sqlite3.Connection, clock: Clock, limit: int) -> list[str]:
    """The sessions with something open and without a valid lease."""
    now = clock()
    return select_ids(
        connection,
        "SELECT id FROM session "
        "WHERE seq > settled AND (holder IS NULL OR expires <= ? OR expires > ? + 2 * ttl) "
        "ORDER BY updated, id LIMIT ?",
        now,
        now,
        limit,
    )
