"""The server of the tests of questions and branches: an agent that asks, on a durable store.

python serve_clerk.py PORT DATABASE
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import anyio
import msgspec
import uvicorn
from starlette.applications import Starlette

from agentws import (
    Agent,
    Limits,
    MemoryFileStore,
    RunContext,
    SQLiteStore,
    mount_agent_gateway,
    tool,
)
from agentws.errors import AskDeclined, AskExpired, ToolDenied, ToolError
from agentws.protocol.messages import UserMessage


class Trip(msgspec.Struct):
    city: str
    nights: Annotated[int, msgspec.Meta(ge=1, le=30, description="At most 30.")]
    class_: Literal["first", "second"] = msgspec.field(name="class", default="second")
    price: float | None = None
    pets: bool = False


@tool(approve=True)
async def refund(order: str, number: int) -> str:
    """Refunds an order."""
    return f"refunded {order} {number}"


@tool
async def pack(ctx: RunContext, seconds: float) -> str:
    """Packs slowly."""
    ctx.progress("Packing", done=1, total=3)
    ctx.progress("Packing", done=2, total=3)
    await anyio.sleep(seconds)
    return "packed"


class Clerk(Agent):
    """The first word of a message says what to ask for; any other message is counted."""

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        verb, _, rest = ctx.text.partition(" ")
        try:
            match verb:
                case "size":
                    yield f"Size {await ctx.ask('Which size?', choices=['small', '<b>large</b>'])}."
                case "name":
                    yield f"Hello {await ctx.ask('Your name?')}."
                case "trip":
                    trip = await ctx.ask("Where to?", schema=Trip)
                    yield f"Trip: {msgspec.json.encode(trip).decode()}"
                case "list":
                    numbers = await ctx.ask("Which numbers?", schema=list[int])
                    yield f"Sum {sum(numbers)}."
                case "soon":
                    yield str(await ctx.ask("Quick?", choices=["yes"], expires=float(rest)))
                case "refund":
                    number = 9007199254740993
                    yield str(await ctx.call(refund, order=rest, number=number))
                case "pack":
                    yield str(await ctx.call(pack, seconds=float(rest or 2)))
                case "locate":
                    yield str(await ctx.client_tool("get_location", {}))
                case "cite":
                    number = ctx.cite("https://example.com/a", title="<i>Report</i>", excerpt="A.")
                    yield f"Sales grew [{number}]."
                    ctx.cite("https://example.org/b")
                case "reason":
                    ctx.reason("The word is long, so it is **hidden**.")
                    yield "Here is code:\n\n```sh\nls -l\n```"
                case "show":
                    ctx.show("plan", {"title": "My plan", "steps": 2})
                    yield "This is the plan."
                case "file":
                    await ctx.write_file("report.csv", "name,total", type="text/csv")
                    yield "Here is your report."
                case "share":
                    ctx.set_state({"items": [rest], "price": 10.0, "id": 9007199254740993})
                    yield "Shared."
                case "help":
                    yield f"I was told: {await ctx.delegate('_scholar', 'Find it')}"
                case _:
                    asked = [one for one in await ctx.history() if isinstance(one, UserMessage)]
                    yield f"Answer to **{ctx.text}**, message {len(asked)}."
        except AskDeclined:
            yield "You declined."
        except AskExpired:
            yield "Too late."
        except ToolDenied as denied:
            yield f"Denied. {denied.message}"
        except ToolError as error:
            yield f"Failed. {error.message}"


async def scholar(ctx: RunContext) -> AsyncIterator[str]:
    yield f"Found **{ctx.text}**."


def main(port: int, database: str) -> None:
    app = Starlette()
    limits = Limits(lease_ttl=2.0, drain_timeout=1.0, heartbeat=5.0)
    agents = {"clerk": Clerk, "other": Clerk, "_scholar": scholar}
    mount_agent_gateway(
        app, agents, store=SQLiteStore(database), files=MemoryFileStore(), limits=limits
    )
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, ws="websockets-sansio")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
