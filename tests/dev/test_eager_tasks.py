"""./dev test --eager: tasks start eagerly on every kind of loop of the tests and servers."""

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
from eager_tasks import starts_eagerly
import anyio, anyio.from_thread, uvicorn, uvloop
from agentws.testing.virtual import virtual_run

async def app(scope, receive, send):
    await receive()
    found["uvicorn"] = await starts_eagerly()
    server.should_exit = True
    await send({"type": "lifespan.startup.complete"})

found = {}
server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
server.run()
found["asyncio"] = asyncio.run(starts_eagerly())
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    found["uvloop"] = runner.run(starts_eagerly())
found["anyio"] = anyio.run(starts_eagerly)
found["virtual time"] = virtual_run(starts_eagerly())
with anyio.from_thread.start_blocking_portal() as portal:
    found["a portal, as of TestClient"] = portal.call(starts_eagerly)
eager_tasks.check()
print([name for name, is_eager in found.items() if not is_eager])
"""


def test_tasks_start_eagerly_on_every_kind_of_event_loop() -> None:
    path = os.pathsep.join([str(environments.EAGER.parent), str(shell.ROOT)])
    command = [sys.executable, "-c", PROBE]
    done = subprocess.run(
        command, env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=50
    )
    if sys.version_info >= (3, 12):
        assert done.stdout.strip() == "[]", done.stdout + done.stderr
    else:
        assert "asyncio.eager_task_factory needs Python 3.12 or newer" in done.stderr
