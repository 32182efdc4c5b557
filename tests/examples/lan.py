"""Serves the app of a file as if it were reached over a local network instead of the loopback.

The browser of the tests still connects over the loopback.

python lan.py FILE
"""

from __future__ import annotations

import os
import runpy
import sys

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

ADDRESS = ("192.0.2.7", 80)


class ReachedAt:
    """``app``, with ``ADDRESS`` as the server address of each request and handshake."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = scope if scope["type"] == "lifespan" else {**scope, "server": ADDRESS}
        await self._app(found, receive, send)


if __name__ == "__main__":
    app = ReachedAt(runpy.run_path(sys.argv[1])["app"])
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False)
