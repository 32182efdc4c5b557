"""A router, a handoff and a delegate: several agents in one conversation. `uvicorn router:app`

Say "Where is my invoice?", "Is the pear ripe?" or "@billing hello", and try /agents and /agent.
"""

import asyncio
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from agentws import Agent, Identity, Router, RunContext, mount_agent_gateway
from agentws.errors import DelegateFailed

INVOICES = {"anonymous": "7 apples, 21 coins"}


def who(identity: Identity | None) -> str:
    return "anonymous" if identity is None else identity.id


async def support(ctx: RunContext) -> AsyncIterator[str]:
    """Answers what it knows, and gives away what it does not."""
    if "pay" in ctx.text:
        yield "That is a question for billing. "
        await ctx.handoff("billing", "The user wants to pay.")
    else:
        yield "How can I help? I know our fruit, and who knows our invoices."


class Billing(Agent):
    """Dependencies are arguments of the constructor, as with a single agent."""

    def __init__(self, invoices: dict[str, str]) -> None:
        self.invoices = invoices

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        if ctx.handed_over is not None:
            yield f"Hello from billing. {ctx.handed_over.reason} "
        yield f"Your invoice: {self.invoices.get(who(ctx.identity), 'none')}."


async def fruit(ctx: RunContext) -> AsyncIterator[str]:
    """Asks the taster about two things at once, inside its own run."""
    try:
        colour, taste = await asyncio.gather(
            ctx.delegate("_taster", "colour", timeout=5),
            ctx.delegate("_taster", "taste", timeout=5),
        )
        yield f"The taster says: {colour}, {taste}."
    except DelegateFailed as failed:
        yield f"I can't tell: {failed.message}"


async def taster(ctx: RunContext) -> AsyncIterator[str]:
    yield {"colour": "green", "taste": "sweet"}[ctx.text]


app = Starlette()
agents = {
    "auto": Router({"billing": ["invoice"], "fruit": ["pear", "apple"]}, default="support"),
    "support": support,
    "billing": lambda: Billing(INVOICES),
    "fruit": fruit,
    "_taster": taster,
}
gateway = mount_agent_gateway(app, agents)
