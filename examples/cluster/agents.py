"""The agent of the cluster: it counts, and says on which node."""

import asyncio
import os
from collections.abc import AsyncIterator

from agentws import Agent, RunContext


class Counter(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        words = ctx.text.split()
        last = int(words[-1]) if words and words[-1].isdecimal() else 20
        yield f"Node {os.environ.get('NODE', '?')} counts:"
        for number in range(1, min(last, 1000) + 1):
            await asyncio.sleep(0.2)
            yield f" {number}"
