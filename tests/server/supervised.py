"""Two workers under a supervisor: `python supervised.py port`. Files in its folder break them."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from agentws.server import server_config, workers

BROKEN = Path("broken")
"""While it exists, no worker can start."""
STUCK = Path("stuck")
"""While it exists, no worker ends."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the id of its process."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": f"lifespan.startup.{_start()}"})
        await receive()
        _end()
        await send({"type": "lifespan.shutdown.complete"})
        return
    head = [(b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


def _start() -> str:
    return "failed" if BROKEN.exists() else "complete"


def _end() -> None:
    while STUCK.exists():
        time.sleep(0.1)


if __name__ == "__main__":
    workers.SHUTDOWN_SECONDS = 1.0  # type: ignore[misc]
    workers.RETRY_SECONDS = 0.1  # type: ignore[misc]
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    config = server_config(
        "supervised:app",
        log_level="warning",
        log_config=workers.worker_log_config(),
    )
    print(f"running on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    sys.exit(0 if workers.Workers(config, [listener], 2).run() else 3)
