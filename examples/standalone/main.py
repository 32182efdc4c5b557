"""A service of its own: conversations in SQLite, and keys from the environment.

    python main.py
    uvicorn main:app --host 0.0.0.0 --port 8000 --reload

With ``CHAT_KEYS="key-of-ann=ann,key-of-bob=bob"`` a client must present one of the keys as a bearer
token; without it, everybody is anonymous. ``ADMIN_KEY`` opens ``/broadcast``.
"""

import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from agentws import Agent, BearerKeys, RunContext, SQLiteStore, mount_agent_gateway
from agentws.events import UserMessage
from agentws.server import serve


class Listener(Agent):
    """Says how often you have spoken: the history is still there after a restart."""

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        said = [one for one in await ctx.history() if isinstance(one, UserMessage)]
        yield f"You said: {ctx.text}. "
        yield f"That was message {len(said)} of this conversation."


def keys(listed: str) -> BearerKeys | None:
    """``key=who,key=who`` as an authenticator; nothing listed, nobody to tell apart."""
    pairs = [one.strip().partition("=") for one in listed.split(",") if one.strip()]
    return BearerKeys({key: who for key, _, who in pairs}) if pairs else None


app = Starlette()
gateway = mount_agent_gateway(
    app,
    Listener,
    store=SQLiteStore(os.environ.get("CHAT_DATABASE", "chat.sqlite3")),
    authenticate=keys(os.environ.get("CHAT_KEYS", "")),
    admin_key=os.environ.get("ADMIN_KEY"),
)

if __name__ == "__main__":
    serve(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
