"""Tools, an approval and a question: `uvicorn tools_and_approval:app`, then "refund o2".

A refund of more than 100 waits until a person has approved it: now, tomorrow, from another device,
or after a restart of the server. `{prefix}/sessions/{id}/answers` takes the answer over HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from starlette.applications import Starlette

from agentws import Agent, RunContext, mount_agent_gateway, tool
from agentws.errors import AskDeclined, ToolDenied, ToolError

ORDERS = {"o1": 20.0, "o2": 500.0}


class Receipt(msgspec.Struct):
    order: str
    amount: float


@tool
async def find_order(order: str) -> float:
    """Returns the price of an order."""
    return ORDERS[order]


@tool(approve=lambda args: args.amount > 100, timeout=10)
async def refund(ctx: RunContext, order: str, amount: float) -> Receipt:
    """Refunds an order."""
    ctx.progress("Talking to the bank", done=1, total=2)
    return Receipt(order, amount)


class Support(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        order = ctx.text.removeprefix("refund").strip()
        if order not in ORDERS:
            try:
                order = await ctx.ask("Which order?", choices=list(ORDERS), expires=3600)
            except AskDeclined:
                yield "Tell me when you know."
                return
        try:
            price = await ctx.call(find_order, order=order)
            receipt = await ctx.call(refund, order=order, amount=price)
            yield f"Order {receipt.order}: {receipt.amount:g} are on their way."
        except ToolDenied as denied:
            yield f"No refund. {denied.message}"
        except ToolError as error:
            yield f"That did not work. {error.message}"


app = Starlette()
gateway = mount_agent_gateway(app, Support)
