"""A gateway made before a fork, as by a server that imports the application once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.processes import ROOT

FORKING = """
import asyncio, os, sys
from agentws import AgentGateway, SQLiteStore

gateway = AgentGateway(None, store=SQLiteStore(sys.argv[1]))


async def serve():
    await gateway.start()
    print(gateway.node, gateway.runs.renewal.node, flush=True)
    await gateway.stop()


for _ in range(2):
    if os.fork() == 0:
        asyncio.run(serve())
        os._exit(0)
    os.wait()
asyncio.run(serve())
"""


def test_each_forked_process_is_a_node_of_its_own(tmp_path: Path) -> None:
    """Processes with one name would hold a lease together and ignore each other's broadcasts."""
    done = subprocess.run(
        [sys.executable, "-c", FORKING, str(tmp_path / "chat.db")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    nodes = [line.split() for line in done.stdout.splitlines()]
    assert len(nodes) == 3
    assert all(node == running_as for node, running_as in nodes)
    assert len({node for node, _ in nodes}) == 3
