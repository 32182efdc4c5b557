"""What all connections of one server share: settings, the cork, the keepalive sweep."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from collections.abc import Awaitable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

    from .corked import CorkedProtocol
    from .websocket import AgentwsWebSocketProtocol

Address = tuple[str, int | None]

# A sweep of many thousand connections must not hold up the others: it yields after this many.
_SWEEP_SLICE = 128
_SLOWEST_TICK = 5.0


class ServerShared:
    """Lives as long as the server. Timers and settings here cost nothing per connection."""

    def __init__(
        self,
        config: Config,
        state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.config = config
        self.app = config.loaded_app
        self.state = state
        self.app_state = app_state
        self.loop = loop
        self.logger = logging.getLogger("uvicorn.error")
        self.asgi = {"version": config.asgi_version, "spec_version": "2.4"}
        self.max_size = config.ws_max_size
        self.max_queue = max(1, config.ws_max_queue)
        self._local_address: Address | None = None
        self._corked: list[CorkedProtocol] = []
        self._interval = config.ws_ping_interval or None
        self._timeout = config.ws_ping_timeout
        self._open: set[AgentwsWebSocketProtocol] = set()
        # Whether a sweep is under way or has its time: then no other may begin.
        self._sweeping = False

    @classmethod
    def of(
        cls,
        config: Config,
        state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop | None,
    ) -> ServerShared:
        """The one of this server; kept on its state, so that it ends with it."""
        held = vars(state)
        shared = held.get("agentws")
        if not isinstance(shared, cls):
            loop = loop or asyncio.get_running_loop()
            shared = held["agentws"] = cls(config, state, app_state, loop)
        return shared

    def local_address(self, address: Address | None) -> Address | None:
        """The same value, as one object for all connections of a listener."""
        if address != self._local_address:
            self._local_address = address
        return self._local_address

    def start_app(self, scope: dict[str, Any], receive: Any, send: Any) -> asyncio.Task[None]:
        """Run the application for one connection, as uvicorn would."""
        running: Any = self.app(scope, receive, send)
        if not asyncio.iscoroutine(running):
            running = _awaiting(running)
        context = contextvars.Context() if self.config.reset_contextvars else None
        # Not by the loop's task factory: asyncio.eager_task_factory would run the application
        # within data_received. One name for all: a generated one costs each connection a string.
        task = asyncio.Task(running, loop=self.loop, name="websocket", context=context)
        self.state.tasks.add(task)
        return task

    def cork(self, connection: CorkedProtocol) -> None:
        """Have `connection.flush()` called once, at the end of this pass of the loop."""
        if not self._corked:
            self.loop.call_soon(self._uncork)
        self._corked.append(connection)

    def _uncork(self) -> None:
        corked, self._corked = self._corked, []
        for connection in corked:
            connection.flush()

    def opened(self, connection: AgentwsWebSocketProtocol) -> None:
        """Keep this connection alive from now on."""
        if self._interval is None:
            return
        self._open.add(connection)
        if not self._sweeping:
            self._schedule()

    def closed(self, connection: AgentwsWebSocketProtocol) -> None:
        """Stop keeping it alive; harmless when it never was."""
        self._open.discard(connection)

    def _schedule(self) -> None:
        assert self._interval is not None
        self._sweeping = True
        tick = min(self._interval, self._timeout or self._interval) / 4
        self.loop.call_later(min(tick, _SLOWEST_TICK), self._sweep)

    def _sweep(self) -> None:
        self._sweep_slice(iter(tuple(self._open)), os.urandom(4))

    def _sweep_slice(self, rest: Iterator[AgentwsWebSocketProtocol], payload: bytes) -> None:
        assert self._interval is not None
        now = self.loop.time()
        reached = None
        for reached in islice(rest, _SWEEP_SLICE):
            reached.keep_alive(now, self._interval, self._timeout, payload)
        if reached is not None:
            self.loop.call_soon(self._sweep_slice, rest, payload)
        elif self._open:
            self._schedule()
        else:
            self._sweeping = False


async def _awaiting(running: Awaitable[None]) -> None:
    await running
