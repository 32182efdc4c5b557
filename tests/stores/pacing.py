"""Streams of many sessions whose appends gather, with pauses around the time of gathering."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from agentws.store import Store
from agentws.testing.contract_base import begin, events, everything
from agentws.testing.log_check import check_tags

SESSIONS = 20
APPENDS = 40


async def check_paced_streams(store: Store, *, pauses: Sequence[float]) -> None:
    """Appends to many sessions at once, then to one alone; every append must end, in order."""
    sessions = [await begin(store) for _ in range(SESSIONS)]
    chance = random.Random(1)

    async def stream(session: str) -> None:
        for number in range(APPENDS):
            await store.append(session, events(number), commutes=True)
            await asyncio.sleep(chance.choice(pauses))

    await asyncio.gather(*map(stream, sessions))
    # One alone, with nothing else that would send what has gathered.
    await stream(sessions[0])
    for session in sessions:
        check_tags(await everything(store, session))
    assert await store.heads(sessions) == [2 * APPENDS, *[APPENDS] * (SESSIONS - 1)]
