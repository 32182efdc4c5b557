"""A server whose agent says a million things at once; run by ``test_flood``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette

from agentws import Agent, Limits, RunContext, SQLiteStore, mount_agent_gateway
from agentws.server import server_config

DELTAS = 1_000_000


class Flood(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        for _ in range(DELTAS if ctx.text == "flood" else 1):
            yield "0123456789"


def main(port: int, path: str, preset: bool) -> None:
    app = Starlette()
    limits = Limits(max_run_size=100 * DELTAS, run_timeout=300.0)
    mount_agent_gateway(app, Flood, store=SQLiteStore(path), limits=limits)
    if preset:
        config = server_config(app, host="127.0.0.1", port=port)
    else:
        config = uvicorn.Config(app, host="127.0.0.1", port=port, ws="websockets-sansio")
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3] == "preset")
