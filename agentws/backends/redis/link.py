"""A connection to a Redis server, on which the calls of many callers go out together.

Calls that come while a round trip is in flight, or in the same pass of the event loop, are one
pipeline. A caller that is cancelled only drops its result: the exchange goes on, so no reply is
ever taken for that of another call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ResponseError

from ...errors import Unavailable
from .errors import is_replica, needs_scripts, translated, unreached
from .pool import Command, connected, disconnect, packer_of
from .script import Script

GATHER: Final = 0.002
"""Seconds from one exchange to the next one of patient calls. An exchange costs as much as many
calls, so that under load they share it; the first call after a pause does not wait."""
LARGEST_PIPELINE: Final = 256
"""Calls of one round trip. More would delay the first of them, and the server's other clients."""


class Call:
    """Commands that are sent one after the other, and the future of their replies."""

    __slots__ = ("again", "count", "data", "durable", "future", "replies")

    def __init__(
        self,
        commands: Sequence[bytes],
        *,
        durable: bool,
        again: bool,
        future: asyncio.Future[list[Any]],
    ) -> None:
        self.data = b"".join(commands)
        self.count = len(commands)
        self.durable = durable
        """Whether it writes something that must be as durable as the store promises."""
        self.again = again
        """Whether it may be sent again when it is not known whether the server has executed it."""
        self.future = future
        self.replies: list[Any] = []

    @property
    def error(self) -> ResponseError | None:
        """The first of the replies that is an error."""
        for reply in self.replies:
            if isinstance(reply, ResponseError):
                return reply
        return None

    def resolve(self) -> None:
        error = self.error
        if error is not None:
            self.fail(error)
        elif not self.future.done():
            self.future.set_result(self.replies)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(translated(error))


class Wait:
    """A command that waits for the durability of what this connection has written before it."""

    def __init__(self, command: Command, *, least: Sequence[int], unmet: str) -> None:
        self.command: Final = command
        self._least = least
        self._unmet = unmet

    def failure(self, reply: Any) -> Exception | None:
        """Why the durability is not met; ``None`` if it is."""
        if isinstance(reply, ResponseError):
            return reply
        counts = reply if isinstance(reply, list) else [reply]
        met = all(count >= least for count, least in zip(counts, self._least, strict=True))
        return None if met else Unavailable(self._unmet)


class Link:
    """One connection, which is made when it is needed and again after it was lost.

    ``timeout``: seconds for one exchange, or for connecting. When they are over the connection is
    dropped and the calls fail with Unavailable. ``scripts``: what every new connection loads.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        *,
        timeout: float,
        scripts: Sequence[Script] = (),
        wait: Wait | None = None,
    ) -> None:
        self._pool = pool
        self._scripts = scripts
        self._timeout = timeout
        self._wait = wait
        self._pack = packer_of(pool)
        self._connection: AbstractConnection | None = None
        self._queue: list[Call] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._idle: asyncio.Future[None] | None = None
        self._due = False
        """Whether what waits is to be sent now."""
        self._gathering_until = 0.0
        self._closing = False

    def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = False
        # What an event loop that was closed has left.
        self._queue, self._connection = [], None
        self._task = self._loop.create_task(self._run(), name="agentws-redis")

    async def close(self) -> None:
        """Returns when all calls have ended and the connection is closed.

        May be called on another event loop than :meth:`open`, whose loop may be closed.
        """
        self._closing = True
        task, self._task = self._task, None
        if task is None:
            return
        if self._loop is asyncio.get_running_loop():
            self._wake()
            await asyncio.wait([task])
            await self._drop()
        else:
            self._connection = None

    def call(
        self,
        *commands: Command,
        durable: bool = False,
        again: bool = True,
        patient: bool = False,
    ) -> asyncio.Future[list[Any]]:
        """The replies to ``commands``. The future raises Unavailable or StorageFull.

        A ``patient`` call may wait for others, see ``GATHER``.
        """
        if self._task is None or self._loop is None:
            raise Unavailable("The store is not open.")
        # Packed here, so that what can't be encoded fails for its own caller only.
        packed = [self._pack(command) for command in commands]
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._queue.append(Call(packed, durable=durable, again=again, future=future))
        if not patient:
            self._due = True
            self._wake()
        elif len(self._queue) == 1:
            self._wake_when_gathered()
        return future

    def _wake_when_gathered(self) -> None:
        assert self._loop is not None
        if self._loop.time() >= self._gathering_until:
            self._gathered()
        else:
            self._loop.call_at(self._gathering_until, self._gathered)

    def _gathered(self) -> None:
        # The clock may not be there yet: a timer of uvloop ends up to a millisecond early.
        self._due = True
        self._wake()

    def _wake(self) -> None:
        idle, self._idle = self._idle, None
        if idle is not None and not idle.done():
            idle.set_result(None)

    async def _run(self) -> None:
        assert self._loop is not None
        calls: list[Call] = []
        try:
            while self._queue or not self._closing:
                if self._queue and (self._due or self._closing):
                    calls = self._next_calls()
                    await self._serve(calls)
                    calls = []
                    if self._queue:
                        self._wake_when_gathered()
                else:
                    self._idle = self._loop.create_future()
                    await self._idle
        finally:
            # Cancelled: the event loop ends. Later calls are refused.
            self._task = None
            for call in (*calls, *self._queue):
                call.fail(Unavailable("The store was closed."))

    def _next_calls(self) -> list[Call]:
        assert self._loop is not None
        self._gathering_until = self._loop.time() + GATHER
        self._due = len(self._queue) > LARGEST_PIPELINE
        calls, self._queue = self._queue[:LARGEST_PIPELINE], self._queue[LARGEST_PIPELINE:]
        return [call for call in calls if not call.future.done()]

    async def _serve(self, calls: list[Call]) -> None:
        """Ends every call: with its replies, or with an error. Sends some of them a second time."""
        left = await self._exchange(calls, last=False) if calls else []
        if left:
            await self._exchange(left, last=True)

    async def _exchange(self, calls: list[Call], *, last: bool) -> list[Call]:
        """One round trip; returns the calls that are to be sent again."""
        was_open = self._connection is not None
        try:
            async with asyncio.timeout(self._timeout):
                unmet = await self._round_trip(calls)
        except Exception as error:
            # Whatever it is: a call must not wait for ever. On a connection that was reset, uvloop
            # raises RuntimeError, and redis-py what it has not foreseen.
            await self._drop()
            # A connection that was idle may have been lost before this exchange.
            may_repeat = was_open and not last and not isinstance(error, TimeoutError)
            return _failed(calls, error, repeat=may_repeat)
        except BaseException:
            await self._drop()
            raise
        return await self._ended(calls, unmet, last=last)

    async def _ended(self, calls: list[Call], unmet: Exception | None, *, last: bool) -> list[Call]:
        refused: list[Call] = []
        for call in calls:
            error = call.error
            if error is not None and not last and (is_replica(error) or needs_scripts(error)):
                # The server has executed nothing of it.
                refused.append(call)
            elif error is None and call.durable and unmet is not None:
                call.fail(unmet)
            else:
                call.resolve()
        if refused:
            # A new connection has the scripts, and may lead to the new primary.
            await self._drop()
        return refused

    async def _round_trip(self, calls: list[Call]) -> Exception | None:
        """Fills in the replies; returns why the durability is not met, if it is not."""
        connection = await self._live_connection()
        wait = self._wait if any(call.durable for call in calls) else None
        datas = [call.data for call in calls]
        if wait is not None:
            datas.append(self._pack(wait.command))
        await connection.send_packed_command(b"".join(datas), check_health=False)
        for call in calls:
            call.replies = [await _reply(connection) for _ in range(call.count)]
        return None if wait is None else wait.failure(await _reply(connection))

    async def _live_connection(self) -> AbstractConnection:
        connection = self._connection
        if connection is not None and await connection.can_read():
            # Nothing was asked, so the server has closed it.
            await self._drop()
            connection = None
        return connection or await self._connect()

    async def _connect(self) -> AbstractConnection:
        try:
            connection = await connected(self._pool)
        except Exception as error:
            raise unreached(error) from error
        try:
            await self._load_scripts(connection)
        except BaseException:
            await disconnect(connection)
            raise
        self._connection = connection
        return connection

    async def _load_scripts(self, connection: AbstractConnection) -> None:
        loads = [self._pack(("SCRIPT", "LOAD", script.text)) for script in self._scripts]
        if loads:
            # On Python 3.12 a transport that is given no bytes never closes.
            await connection.send_packed_command(b"".join(loads), check_health=False)
        for _ in loads:
            await connection.read_response(disable_decoding=True)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        await disconnect(connection)


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError as error:
        return error


def _failed(calls: list[Call], error: Exception, *, repeat: bool) -> list[Call]:
    again = [call for call in calls if repeat and call.again]
    for call in calls:
        if not (repeat and call.again):
            call.fail(error)
    return again
