"""What all connections of one server share: its settings, the cork, the keepalive sweep."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final, Protocol

from .budget import ReadBudget
from .buffers import limit_buffers
from .config import hardening_of, limits_of
from .deadlines import Deadlines
from .keepalive import KeepaliveSweep

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

Address = tuple[str, int | None]
LIMITED: Final = "agentws_limited"
"""The attribute of uvicorn's state that says that the listeners have bounded buffers."""


class Corked(Protocol):
    """A connection that holds writes back."""

    def flush(self) -> None:
        """Write what is held back."""


class Opening(Protocol):
    """A connection that is not open yet."""

    def open_late(self) -> None:
        """A request's head, or the answer to an upgrade, did not come in time."""


class Closing(Protocol):
    """A connection that is closing."""

    def close_late(self) -> None:
        """The peer did not end it in time."""


class Writing(Protocol):
    """A connection with bytes to be sent."""

    def write_late(self) -> None:
        """A part of the time for them has passed."""


class Parsing(Protocol):
    """A connection with bytes to be parsed."""

    def parse(self) -> None:
        """Parse the next of them."""


class ServerShared:
    """Exists as long as the server. Timers and settings here cost nothing per connection."""

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
        self.keepalive = KeepaliveSweep(
            loop, interval=config.ws_ping_interval, timeout=config.ws_ping_timeout
        )
        limits = self.limits = limits_of(config)
        self.hardening = hardening_of(config)
        self.opening: Deadlines[Opening] = Deadlines(
            loop, limits.open_timeout, lambda one: one.open_late()
        )
        self.closing: Deadlines[Closing] = Deadlines(
            loop, limits.close_timeout, lambda one: one.close_late()
        )
        self.writing: Deadlines[Writing] = Deadlines(
            loop, limits.write_timeout, lambda one: one.write_late()
        )
        self.budget = ReadBudget(loop, rate=limits.read_rate, burst=limits.read_burst)
        self._local_address: Address | None = None
        self._corked: list[Corked] = []
        self._parsing: set[Parsing] = set()

    def limit_buffers(self, transport: asyncio.BaseTransport) -> None:
        """Bound the buffers of a connection whose listener did not."""
        if not vars(self.state).get(LIMITED):
            socket = transport.get_extra_info("socket")
            if socket is not None:
                limit_buffers(socket, self.limits)

    @classmethod
    def of(
        cls,
        config: Config,
        state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop | None,
    ) -> ServerShared:
        """The object of this server; it is kept on its state, so that both end together."""
        attributes = vars(state)
        shared = attributes.get("agentws")
        if not isinstance(shared, cls):
            loop = loop or asyncio.get_running_loop()
            shared = attributes["agentws"] = cls(config, state, app_state, loop)
        return shared

    def local_address(self, address: Address | None) -> Address | None:
        """An equal value that all connections of a listener share: one object in memory."""
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

    def cork(self, connection: Corked) -> None:
        """Call `connection.flush()` once, at the end of this pass of the event loop."""
        if not self._corked:
            self.loop.call_soon(self._uncork)
        self._corked.append(connection)

    def parse_later(self, connection: Parsing) -> None:
        """Call `connection.parse()` once, in the next pass of the event loop."""
        if not self._parsing:
            self.loop.call_soon(self._parse)
        self._parsing.add(connection)

    def _parse(self) -> None:
        parsing, self._parsing = self._parsing, set()
        for connection in parsing:
            connection.parse()

    def _uncork(self) -> None:
        corked, self._corked = self._corked, []
        for connection in corked:
            connection.flush()


async def _awaiting(running: Awaitable[None]) -> None:
    await running
