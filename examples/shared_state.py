"""A form that a person and an agent fill in together: the shared state of the session.

    uvicorn shared_state:app

Open http://127.0.0.1:8000/form, and write "Oslo". The agent fills in what it knows, you change it,
and the agent goes on once you have confirmed it.
"""

from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from agentws import Agent, AgentError, RunContext, StateChange, mount_agent_gateway

NIGHTS = range(1, 31)
EMPTY = {"city": "", "nights": 1, "confirmed": False}


class TravelDesk(Agent):
    def accepts_state(self, change: StateChange) -> bool:
        """Decides on every change by a client: the form keeps its fields, and their values fit."""
        form = change.after
        if not isinstance(form, dict) or form.keys() != EMPTY.keys():
            return False
        if form["nights"] not in NIGHTS:
            raise AgentError(f"We book {NIGHTS[0]} to {NIGHTS[-1]} nights.")
        return isinstance(form["city"], str) and isinstance(form["confirmed"], bool)

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        ctx.set_state({**EMPTY, "city": ctx.text.title()})
        yield "I have filled in the city. How many nights? Then confirm."
        form = ctx.state
        async for form in ctx.state_changes():
            if form["confirmed"]:
                break
        yield f" Booked: {form['city']}, {form['nights']} nights."


async def page(request: Request) -> FileResponse:
    return FileResponse(Path(__file__).with_suffix(".html"))


app = Starlette(
    routes=[
        Route("/form", page),
        # The client is part of the Python package, so it always matches the server.
        Mount("/agentws", StaticFiles(packages=[("agentws", "web")])),
    ]
)
gateway = mount_agent_gateway(app, TravelDesk)
