"""The server of the tests of the message box: several agents, and a file store.

python serve_composing.py PORT
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator

import anyio
import uvicorn
from starlette.applications import Starlette

from agentws import Agent, Limits, MemoryFileStore, RunContext, mount_agent_gateway

PACE = 0.05
LIMITS = Limits(
    max_file_size=200_000, max_files_per_message=2, file_types=("image/*", "text/plain")
)


class Guide(Agent):
    """Answers ``go`` in steps until it is stopped, or told to ``halt``; names the files it gets."""

    async def run(self, ctx: RunContext) -> AsyncGenerator[str, None]:
        names = [file.name for file in ctx.attachments]
        yield f"You said **{ctx.text}**, with {len(names)} files {' '.join(names)}. "
        while "go" in ctx.text.split():
            await anyio.sleep(PACE)
            yield "on "
            for message in await ctx.steered():
                yield f"Understood: {message.content} "
                if message.content == "halt":
                    return


class Busy(Guide):
    """Takes no message during a run."""

    overlaps = frozenset({"queue"})

    async def run(self, ctx: RunContext) -> AsyncGenerator[str, None]:
        yield f"Busy with **{ctx.text}**. "
        while "go" in ctx.text.split():
            await anyio.sleep(PACE)
            yield "on "


def main(port: int) -> None:
    app = Starlette()
    agents = {"guide": Guide, "busy": lambda: Busy(), "busybody": Busy}
    mount_agent_gateway(app, agents, files=MemoryFileStore(), limits=LIMITS)
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, ws="websockets-sansio")


if __name__ == "__main__":
    main(int(sys.argv[1]))
