"""The server of the browser tests: an agent that writes slowly, on a durable store.

python serve.py PORT DATABASE [KEY]

DATABASE ``memory`` keeps everything in memory.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator

import anyio
import uvicorn
from starlette.applications import Starlette

from agentws import (
    Agent,
    AgentError,
    BearerKeys,
    Limits,
    MemoryStore,
    RunContext,
    SQLiteStore,
    mount_agent_gateway,
)
from agentws.protocol.events import (
    ActivitySnapshot,
    AgentEvent,
    RunFinished,
    ToolCallArgs,
    ToolCallEnd,
    ToolCallResult,
    ToolCallStart,
)
from agentws.protocol.messages import Interrupt, InterruptOutcome

PACE = 0.05
HOSTS = ["127.0.0.1", "lan.test"]
LIMITS = Limits(lease_ttl=2.0, drain_timeout=1.0, heartbeat=5.0, snapshot_messages=10)


class Scribe(Agent):
    """The first word of a message says what to do; without such a word it echoes the message.

    ``count N``              writes the numbers up to N, one delta each
    ``fill N``               writes them in one delta
    ``fail``, ``break``      fails after, or before, its first delta
    ``ask``                  ends the run with an interrupt
    ``write "..."``          streams the JSON string
    ``call ["...", "..."]``  calls a tool with the first text as arguments, the second as result
    ``show {...}``           shows an activity
    """

    async def run(self, ctx: RunContext) -> AsyncGenerator[str | AgentEvent, None]:
        verb, _, rest = ctx.text.partition(" ")
        if ctx.answers:
            yield f"You answered **{ctx.answers[0].payload['approved']}**."
        elif verb == "ask":
            yield question(ctx)
        elif verb == "count":
            for number in range(1, int(rest) + 1):
                yield f"n{number} "
                await anyio.sleep(PACE)
        elif verb == "fill":
            yield "\n\n".join(f"n{number} " + 90 * "-" for number in range(1, int(rest) + 1))
        elif verb == "fail":
            yield "So far so good."
            raise AgentError("This was meant to fail.")
        elif verb == "break":
            raise AgentError("Nothing came of it.")
        elif verb == "write":
            for piece in pieces(json.loads(rest)):
                yield piece
        elif verb == "call":
            for event in called(*json.loads(rest)):
                yield event
        elif verb == "show":
            yield ActivitySnapshot("act_1", "PLAN", json.loads(rest))
        else:
            yield f"You said **{ctx.text}**."


def pieces(text: str) -> list[str]:
    return [text[at : at + 3] for at in range(0, len(text), 3)]


def called(arguments: str, result: str) -> list[AgentEvent]:
    return [
        ToolCallStart("call_1", "look_up"),
        *(ToolCallArgs(tool_call_id="call_1", delta=piece) for piece in pieces(arguments)),
        ToolCallEnd("call_1"),
        ToolCallResult("msg_result", "call_1", result),
    ]


def question(ctx: RunContext) -> RunFinished:
    interrupt = Interrupt(f"int_{ctx.run_id}", "confirmation", "Delete everything?")
    return RunFinished(ctx.session.id, ctx.run_id, outcome=InterruptOutcome([interrupt]))


def main(port: int, database: str, key: str | None = None) -> None:
    app = Starlette()
    keys = None if key is None else BearerKeys({key: "ann"})
    store = MemoryStore() if database == "memory" else SQLiteStore(database)
    mount_agent_gateway(
        app, Scribe, store=store, authenticate=keys, limits=LIMITS, allowed_hosts=HOSTS
    )
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, ws="websockets-sansio")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
