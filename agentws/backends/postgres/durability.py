"""What a commit on a PostgreSQL server survives, by the server's own settings."""

from __future__ import annotations

from typing import Final

from ...protocol.frames import Durability
from .log import rows_of
from .pool import Connection

_LOCAL: Final = frozenset({"local"})
"""A value of ``synchronous_commit`` that waits for this server's disk only."""


async def met_durability(connection: Connection, schema: str) -> Durability:
    """The durability that a commit of this role in this database meets.

    With synchronous standbys a commit waits until one has it, however long; the call then ends at
    its deadline. So they count also while none is connected: nothing is acknowledged without them.
    """
    rows = await rows_of(
        connection,
        "SELECT current_setting('fsync'), current_setting('synchronous_commit'), "
        "current_setting('synchronous_standby_names')",
    )
    fsync, commit, standbys = rows[0]
    if fsync == "off" or commit == "off":
        return "process"
    return "replicated" if standbys.strip() and commit not in _LOCAL else "disk"
