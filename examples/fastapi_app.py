"""In a FastAPI application: one function finds the user, for its routes and for the gateway.

uvicorn fastapi_app:app
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from starlette.requests import HTTPConnection

from agentws import Agent, RunContext, mount_agent_gateway
from agentws.errors import NotFound

SESSIONS = {"cookie-of-ann": "ann", "cookie-of-bob": "bob"}
"""Stands for the table of logins of a real application."""


def find_user(connection: HTTPConnection) -> str | None:
    """The user of a request or a WebSocket handshake, from the application's own cookie."""
    return SESSIONS.get(connection.cookies.get("session", ""))


def current_user(user: Annotated[str | None, Depends(find_user)]) -> str:
    if user is None:
        raise HTTPException(401, "Log in first.")
    return user


class Support(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        name = ctx.identity.id if ctx.identity else "stranger"
        yield f"Hello {name}, "
        yield f"you asked: {ctx.text}"


app = FastAPI()


@app.get("/me")
def me(user: Annotated[str, Depends(current_user)]) -> dict[str, str]:
    return {"user": user}


@app.post("/exports/{session}")
async def export(session: str, user: Annotated[str, Depends(current_user)]) -> dict[str, str]:
    """A route can push to a session, whether a client is connected or not."""
    try:
        owner = (await gateway.store.info(session)).owner
    except NotFound:
        owner = None
    if owner != user:
        # The same answer for an unknown session: it does not reveal which sessions exist.
        raise HTTPException(403, "This session is not yours.")
    return {"position": await gateway.session(session).push("Your export is ready.")}


gateway = mount_agent_gateway(app, Support, prefix="/assistant", authenticate=find_user)
