"""Several agents behind one gateway, with their dependencies. `uvicorn several_agents:app`

A new session talks to the agent that it names (``/ws/chat?agent=sales``), or to the first one.
"""

from collections.abc import AsyncIterator

from starlette.applications import Starlette

from agentws import Agent, RunContext, SessionInfo, mount_agent_gateway

PRICES = {"apple": 3, "pear": 4}


class Sales(Agent):
    """Each run gets a new one. Its dependencies are arguments of the constructor."""

    def __init__(self, prices: dict[str, int]) -> None:
        self.prices = prices

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        price = self.prices.get(ctx.text.strip().lower())
        yield "We don't have that." if price is None else f"That is {price} coins."


async def support(ctx: RunContext) -> AsyncIterator[str]:
    """A bare generator function is an agent too."""
    yield f"{ctx.agent} will look into it: {ctx.text}"


class Concierge(Agent):
    def __init__(self, session: SessionInfo) -> None:
        self.session = session

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        yield f"Welcome to {self.session.title or 'a conversation without a title'}."


async def concierge(session: SessionInfo) -> Agent:
    """A factory may be async, and may take the session that it makes an agent for."""
    return Concierge(session)


app = Starlette()
gateway = mount_agent_gateway(
    app, {"support": support, "sales": lambda: Sales(PRICES), "concierge": concierge}
)
