"""The write side of one WebSocket connection, with backpressure.

An ASGI ``send`` is a coroutine that mostly finishes at once and waits only while the outgoing
buffer is full. So it is run inline up to that point, and a task exists only for a slow consumer.
A server that offers ``agentws.write`` is handed finished frames instead.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

from ..tasks.tasks import Tasks

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
EXTENSION: Final = "agentws.write"
GONE: Final = (OSError, RuntimeError)
"""What servers raise when the peer has gone: OSError, or RuntimeError for a send after a close."""


class Writer(Protocol):
    """What writes to an outlet. (A bound method of it would cost a connection 64 bytes.)"""

    def ring(self) -> None: ...


class Outlet:
    """Writes to one peer. Write only while it is not :attr:`blocked`."""

    __slots__ = (
        "_context",
        "_extension",
        "_send",
        "_waiter",
        "blocked",
        "broken",
        "loop",
        "tasks",
        "writer",
    )

    def __init__(
        self, send: Send, tasks: Tasks, *, extension: MutableMapping[str, Any] | None
    ) -> None:
        self._send = send
        self.loop = asyncio.get_running_loop()
        self.tasks = tasks
        # A middleware's ``send`` must see the context variables of its own connection, although
        # the event may come from a task of another one: sessions are shared.
        context = contextvars.copy_context()
        self._context = context if len(context) else None
        self._extension = extension
        self._waiter: asyncio.Future[None] | None = None
        self.blocked = False
        """The outgoing buffer is full: the peer must read before more is written."""
        self.broken = False
        """The peer is gone."""
        self.writer: Writer | None = None
        """Rung when the peer may be written to again."""

    def write(self, payload: bytes) -> None:
        """Sends one text message; afterwards the outlet may be blocked. Never raises."""
        if self.broken:
            return
        extension = self._extension
        if extension is None:
            self._begin(self._send({"type": "websocket.send", "text": payload.decode()}))
        elif not extension["write"](extension["frame"](payload)):
            self._begin(extension["drain"]())

    def send(self, message: MutableMapping[str, Any]) -> None:
        """Sends any other ASGI message, such as a close."""
        if not self.broken:
            self._begin(self._send(message))

    def _begin(self, work: Any) -> None:
        try:
            context = self._context and self._context.copy()
            task = self.tasks.start(
                work, name="slow consumer", context=context, quiet=GONE, loop=self.loop
            )
        except (*GONE, asyncio.CancelledError):
            # The send was cancelled (by a cancel scope of a middleware, perhaps), not the caller.
            self.broken = True
            return
        if task is not None:
            self.blocked = True
            task.add_done_callback(self._unblock, context=contextvars.Context())

    def _unblock(self, task: asyncio.Task[None]) -> None:
        self.blocked = False
        if task.cancelled() or task.exception() is not None:
            self.broken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self.writer is not None:
            self.writer.ring()

    async def writable(self) -> None:
        """Returns when the peer may be written to. For one waiter at a time."""
        while self.blocked:
            self._waiter = self.loop.create_future()
            await self._waiter
