"""A gateway on the preset, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette

from agentws import Agent, Limits, RunContext, mount_agent_gateway
from agentws.server import Server, ServerLimits, server_config

UNLIMITED = Limits(
    message_rate=1e9, message_burst=10**9, byte_rate=1e9, max_errors=10**9, max_queued=10**6
)


class Speaker(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        for _ in range(40):
            yield "0123456789" * 5000


class Running:
    """A gateway on the preset, without keepalive: only a refusal ends a connection."""

    def __init__(self, limits: Limits) -> None:
        app = Starlette()
        self.gateway = mount_agent_gateway(app, Speaker, limits=limits)
        generous = ServerLimits(read_rate=10**9, read_burst=10**9, close_timeout=1.0)
        options: dict[str, Any] = {"log_config": None, "ws_ping_interval": None}
        config = server_config(app, port=0, server_limits=generous, **options)
        self.server = Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        end = time.monotonic() + 10
        while not self.server.started:
            assert time.monotonic() < end
            time.sleep(0.01)
        self.port: int = self.server.servers[0].sockets[0].getsockname()[1]

    def counted(self, name: str) -> int:
        """One of the counts of this node."""
        count: int = self.gateway.stats()[name]
        return count

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()
