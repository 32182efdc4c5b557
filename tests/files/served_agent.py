"""The agent that the tests of real servers run."""

from __future__ import annotations

from collections.abc import AsyncIterator

from agentws import Agent, RunContext


class Reader(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        for file in ctx.attachments:
            async with file.open() as chunks:
                yield f"{file.name}: {sum([len(chunk) async for chunk in chunks])}"
