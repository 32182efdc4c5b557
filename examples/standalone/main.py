"""A standalone service: conversations in SQLite, and keys from the environment.

    python main.py
    uvicorn main:app --host 0.0.0.0 --port 8000 --reload

With ``CHAT_KEYS="key-of-ann=ann,key-of-bob=bob"`` a client must send one of the keys as a bearer
token. Without it, all clients are anonymous. ``ADMIN_KEY`` enables ``/broadcast``.
"""

import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from agentws import Agent, BearerKeys, RunContext, SQLiteStore, mount_agent_gateway
from agentws.events import UserMessage
from agentws.server import serve


class Listener(Agent):
    """Counts your messages: the history survives a restart."""

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        said = [one for one in await ctx.history() if isinstance(one, UserMessage)]
        yield f"You said: {ctx.text}. "
        yield f"That was message {len(said)} of this conversation."


def keys(listed: str) -> BearerKeys | None:
    """An authenticator for ``key=user,key=user``; ``None`` for an empty list."""
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
