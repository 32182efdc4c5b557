"""Where tasks are to start eagerly they do so on every loop that the tests and servers run."""

from __future__ import annotations

import os
import subprocess
import sys

import environments
import shell

PROBE = """
import asyncio
import eager_tasks
eager_tasks.install()
import anyio, anyio.from_thread, uvicorn, uvloop
from agentws.testing.virtual import virtual_run

async def factory():
    return asyncio.get_running_loop().get_task_factory()

async def app(scope, receive, send):
    await receive()
    found["uvicorn"] = await factory()
    server.should_exit = True
    await send({"type": "lifespan.startup.complete"})

found = {}
server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
server.run()
found["asyncio"] = asyncio.run(factory())
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    found["uvloop"] = runner.run(factory())
found["anyio"] = anyio.run(factory)
found["virtual time"] = virtual_run(factory())
with anyio.from_thread.start_blocking_portal() as portal:
    found["a portal, as of TestClient"] = portal.call(factory)
eager_tasks.check()
print([name for name, one in found.items() if one is not asyncio.eager_task_factory])
"""


def test_every_loop_that_is_run_has_the_task_factory() -> None:
    path = os.pathsep.join([str(environments.EAGER.parent), str(shell.ROOT)])
    command = [sys.executable, "-c", PROBE]
    done = subprocess.run(
        command, env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=50
    )
    if sys.version_info >= (3, 12):
        assert done.stdout.strip() == "[]", done.stdout + done.stderr
    else:
        assert "asyncio.eager_task_factory came with Python 3.12" in done.stderr
