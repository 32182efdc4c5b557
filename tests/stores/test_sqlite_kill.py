"""A killed process: every append that was acknowledged to it is in the file."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from agentws.backends.sqlite import SQLiteStore
from agentws.protocol.position import Position, parse_position
from agentws.testing.contract_base import everything
from agentws.testing.oracle import check_tags

WRITER = Path(__file__).with_name("sqlite_writer.py")


async def test_a_killed_writer_loses_no_acknowledged_append(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    acknowledged = await acknowledged_before_the_kill(path)
    store = SQLiteStore(path)
    await store.open()
    assert set(acknowledged) == {"s0", "s1", "s2"}
    for session, positions in acknowledged.items():
        records = await everything(store, session)
        assert len(records) % 3 == 0
        check_tags(records)
        kept = {(record.seq, record.tag) for record in records}
        assert {(position.seq, position.tag) for position in positions} <= kept
    await store.close()


async def acknowledged_before_the_kill(path: Path) -> dict[str, list[Position]]:
    """By session, the positions that a writing process printed until it was killed."""
    writer = await asyncio.create_subprocess_exec(
        sys.executable,
        str(WRITER),
        str(path),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert writer.stdout is not None
    try:
        lines = [await writer.stdout.readline() for _ in range(60)]
    finally:
        writer.kill()
    rest, _ = await writer.communicate()
    # The last line may have been cut.
    lines += [line for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]
    acknowledged: dict[str, list[Position]] = {}
    for line in lines:
        session, position = line.decode().split()
        acknowledged.setdefault(session, []).append(parse_position(position))
    return acknowledged
