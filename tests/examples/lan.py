"""Serves the app of a file as a machine in a local network does, which is not reached at loopback.

The browser of the tests finds it there all the same.

python lan.py FILE
"""

from __future__ import annotations

import os
import runpy
import sys

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

ADDRESS = ("192.0.2.7", 80)


class Reached:
    """``app``, where each request and handshake came to ``ADDRESS``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = scope if scope["type"] == "lifespan" else {**scope, "server": ADDRESS}
        await self._app(found, receive, send)


if __name__ == "__main__":
    app = Reached(runpy.run_path(sys.argv[1])["app"])
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False)
