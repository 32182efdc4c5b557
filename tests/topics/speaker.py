"""A process that mounts nothing: `python speaker.py KIND ADDRESS` posts, notifies, broadcasts.

Prints the position of the post, and how many connections the notice and the broadcast have reached.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from agentws import AgentGateway, SQLiteStore
from agentws.backends.postgres import PostgresStore
from agentws.backends.redis import RedisStore
from agentws.gateway import counting
from agentws.store import Store

STORES: dict[str, Callable[[str], Store]] = {
    "postgres": PostgresStore,
    "redis": RedisStore,
    "sqlite": SQLiteStore,
}


async def main(kind: str, address: str) -> None:
    speaker = AgentGateway(None, store=STORES[kind](address))
    topic = speaker.topic("orders")
    position = await topic.post("posted", key="k1")
    assert await topic.post("posted", key="k1") == position
    print(position, await topic.notify("shown"), await speaker.broadcast("to everybody"))
    await speaker.stop()


if __name__ == "__main__":
    # It waits for nodes on a busy machine, and no longer than until both have answered.
    counting.LONGEST = 30.0  # type: ignore[misc]
    asyncio.run(main(*sys.argv[1:]))
