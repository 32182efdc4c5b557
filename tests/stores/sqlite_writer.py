"""A process that appends without end and prints the position of every acknowledged append."""

from __future__ import annotations

import asyncio
import sys

from agentws.backends.sqlite import SQLiteStore
from agentws.store import SessionInfo, Store
from agentws.testing.contract_base import events


async def write(store: Store, session: str) -> None:
    for turn in range(1_000_000):
        done = await store.append(session, events(*(f"{turn}.{n}" for n in range(3))))
        print(session, done.position, flush=True)


async def main(path: str) -> None:
    store = SQLiteStore(path)
    await store.open()
    for session in ("s0", "s1", "s2"):
        info = SessionInfo(id=session, agent="default", created=1.0, updated=1.0)
        await store.create(info, epoch="e1")
    await asyncio.gather(*(write(store, session) for session in ("s0", "s1", "s2")))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
