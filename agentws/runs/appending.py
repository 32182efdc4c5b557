"""One append of a run, which is in the log once, also if the store fails meanwhile."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from ..errors import Unavailable
from ..protocol.codec import Entry
from ..sessions.session import Session

RETRY_SECONDS: Final = 30.0
"""Seconds for which an append is retried while the store is unavailable."""


async def append_again(
    session: Session,
    batch: list[Entry],
    error: Unavailable,
    *,
    known: int,
    fence: str,
    expect: int | None,
) -> None:
    """Retries an append that failed with ``error``: so that the batch is in the log once.

    Before each try it checks whether the batch is in the log already. ``known`` is the seq up to
    which the log was known before the first one.
    Raises what :meth:`Session.append_entries` raises.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + RETRY_SECONDS
    pause = 0.05
    while loop.time() < deadline:
        await asyncio.sleep(random.uniform(pause / 2, pause))
        pause = min(2 * pause, 1.0)
        try:
            if not await _is_in_log(session, batch, known):
                await session.append_entries(batch, fence=fence, expect=expect)
            return
        except Unavailable as again:
            error = again
    raise error


async def _is_in_log(session: Session, batch: list[Entry], after: int) -> bool:
    """Whether an append that seemed to fail (a lost acknowledgement) is in the log."""
    await session.catch_up()
    records = await session.read_from(after)
    # An append is atomic, so it is enough to find its last event.
    found = any(record.data == batch[-1].data for record in records)
    if found:
        session.announce()
    return found
