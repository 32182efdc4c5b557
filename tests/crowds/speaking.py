"""A server whose agent causes load in several ways; run by the tests of this folder."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette

from agentws import Agent, Limits, RunContext, SQLiteStore, mount_agent_gateway
from agentws.protocol.events import Custom
from agentws.server import server_config

DELTAS = 1_000_000
EVENTS = 20_000
BLOCKED = 0.5
LARGE = "".join(f"Line {number:08} says this.\n" for number in range(8 * 1024 * 1024 // 25))


class Speaker(Agent):
    """``flood``: a million deltas; ``events``: 20,000 events that can't be merged; ``block``:
    blocks the event loop; ``large``: 8 MB at once."""

    async def run(self, ctx: RunContext) -> AsyncIterator[str | Custom]:
        match ctx.text:
            case "flood":
                for _ in range(DELTAS):
                    yield "0123456789"
            case "events":
                for number in range(EVENTS):
                    yield Custom("number", number)
            case "large":
                yield LARGE
            case "block":
                yield "before "
                time.sleep(BLOCKED)  # noqa: ASYNC251
                yield "after"
            case _:
                yield "0123456789"


def main(port: int, path: str, preset: bool) -> None:
    app = Starlette()
    limits = Limits(max_run_size=100 * DELTAS, run_timeout=300.0, message_rate=1e6, max_errors=1000)
    mount_agent_gateway(app, Speaker, store=SQLiteStore(path), limits=limits)
    if preset:
        config = server_config(app, host="127.0.0.1", port=port)
    else:
        config = uvicorn.Config(app, host="127.0.0.1", port=port, ws="websockets-sansio")
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3] == "preset")
