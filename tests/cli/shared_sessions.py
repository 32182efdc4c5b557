"""Workers that share a session in the store of a server, for the tests of each such store."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from agentws.client import connect

from .conftest import Server

Serve = Callable[..., Server]
Command = Callable[..., subprocess.CompletedProcess[str]]

NODES = """
import os
from agentws import Agent


class Node(Agent):
    async def run(self, ctx):
        yield str(os.getpid())
"""


def write_nodes(folder: Path) -> None:
    """Writes the module ``nodes``, whose agent ``Node`` answers with its process id."""
    (folder / "nodes.py").write_text(NODES)


async def check_shared_session(server: Server) -> None:
    """Two clients of one session get the answers of the same worker.

    The lease of a session stays with a worker, whichever one a client is connected to.
    """
    url = f"{server.url}ws/chat"
    async with connect(url, connect_timeout=20) as first:
        pid = await first.ask("which")
        async with connect(f"{url}?session={first.session}", connect_timeout=20) as second:
            assert await second.ask("which") == pid
