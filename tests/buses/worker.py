"""One of several workers on one SQLite file: `python worker.py PATH PORT BUS POLL`.

BUS is ``default``, or ``local`` for one that reaches no other process. POLL is how late an event
can be whose bell was lost, in seconds.

``in step`` is answered piece by piece: each waits until the file ``seen`` beside PATH has as many
bytes as pieces were written. Any other message is answered with a pause after each piece.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette

from agentws import Agent, Limits, LocalBus, RunContext, SQLiteStore, mount_agent_gateway
from agentws.server import serve

PIECES = 40
PAUSE = 0.05


class Slow(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        for number in range(PIECES):
            yield f"{number} "
            if ctx.text == "in step":
                await self._is_seen(number)
            else:
                await asyncio.sleep(PAUSE)

    async def _is_seen(self, number: int) -> None:
        seen = Path(sys.argv[1]).with_name("seen")
        while seen.stat().st_size <= number:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.005)


if __name__ == "__main__":
    path, port, bus, poll = sys.argv[1:]
    app = Starlette()
    mount_agent_gateway(
        app,
        Slow,
        store=SQLiteStore(path, synchronous="NORMAL"),
        bus=LocalBus() if bus == "local" else None,
        admin_key="the-key",
        may_subscribe=lambda identity, topic: topic == "news",
        limits=Limits(poll_interval=float(poll), idle_poll_interval=2 * float(poll)),
    )
    serve(app, port=int(port))
