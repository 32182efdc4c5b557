"""The bus between the nodes that share a PostgreSQL database: ``NOTIFY`` and ``LISTEN``.

All nodes listen to one notification channel of the schema, and each sends what it has in one
statement: commits with a notification are serialized in the whole server, and each wakes every
node. So a node that has much to say makes a pause between two of them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import psycopg

from ...bus import Bus, Listener, Scope, Subscriptions
from ...errors import Unavailable
from ...settings import Delay, check_setting
from .messages import Outbox, Reassembly, decode
from .pool import (
    Connection,
    connect,
    connection_string,
    quoted_schema,
    statement,
    translated,
)

logger: Final = logging.getLogger("agentws")

TIMEOUT: Final = 5.0
"""Seconds for a connection, a statement, and the echo of a probe."""
PROBE_INTERVAL: Final = 10.0
"""Seconds between two probes of the listening connection, which may be dead without an error."""
ECHO: Final = 2.0
"""Seconds in which a probe must have come back."""
LONGEST: Final = 10.0
"""How often ``interval`` a pause between two statements is at most."""
DEAF_PAUSE: Final = 30.0
"""Seconds until another try to listen where notifications do not arrive."""
_PAUSES: Final = (0.05, 0.25, 1.0, 2.0)
"""Seconds before the next try to connect, on average; the last one for all further ones."""


class PostgresBus(Bus):
    """Reaches every node whose bus has the same database and ``schema``.

    Uses two connections of its own. What is published is sent at once, and then nothing for
    ``interval`` seconds, or up to ten times as long after a statement with many messages: what
    comes meanwhile is sent together. Of the rings of a session (payloads of digits) only the newest
    one is sent then.

    It needs a session of the server: behind a pooler that pools by transaction, no notification
    arrives. The bus finds that out and says it in the log; nodes then find each other's appends by
    polling, and broadcasts reach only the node that they were sent to. Give the bus the address of
    the server itself then, or another bus.
    """

    scope: Scope = "cluster"

    def __init__(self, url: str, *, schema: str = "agentws", interval: float = 0.002) -> None:
        quoted_schema(schema)
        check_setting("interval", interval, Delay)
        self._conninfo = connection_string(url)
        self._channel = f"agentws_{schema}"
        self._node = secrets.token_hex(8)
        self._subscriptions = Subscriptions()
        self._interval = interval
        self._outbox = Outbox(self._node)
        self._reassembly = Reassembly()
        self._listening: Connection | None = None
        self._sender: Connection | None = None
        self._sending = asyncio.Lock()
        self._wake = asyncio.Event()
        self._echo = asyncio.Event()
        """Set when a notification has arrived, such as one's own probe, or none can arrive."""
        self._heard = False
        """Whether one has ever arrived."""
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<PostgresBus {self._channel!r}>"

    async def open(self) -> None:
        if self._tasks:
            return
        self._loop = asyncio.get_running_loop()
        # New ones, as each belongs to the event loop that it was used on first.
        self._sending, self._wake, self._echo = asyncio.Lock(), asyncio.Event(), asyncio.Event()
        with translated():
            self._listening = await self._listen()
        self._tasks = [
            asyncio.ensure_future(self._receive_always()),
            asyncio.ensure_future(self._send_always()),
        ]

    async def close(self) -> None:
        tasks, self._tasks = self._tasks, []
        # On another event loop, that of the tasks was closed: they will never run again.
        if tasks and self._loop is asyncio.get_running_loop():
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._send_last()
        await self._drop_sender()
        if self._listening is not None:
            await self._listening.close()

    def publish(self, channel: str, payload: bytes) -> None:
        self._subscriptions.deliver(channel, payload)
        if self._tasks:
            self._outbox.add(channel, payload)
            self._wake.set()

    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        return self._subscriptions.add(channel, listener)

    # Sending

    async def _send_always(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            # The more there is to say, the longer it gathers, and the less each part of it costs.
            pause = self._interval * min(math.sqrt(len(self._outbox)), LONGEST)
            began, payloads = loop.time(), self._outbox.take()
            if not payloads or await self._sent(payloads, quietly=failures > 0):
                failures, pause = 0, began + pause - loop.time()
            else:
                pause = _pause(failures)
                failures += 1
            # What is published meanwhile waits, and the newest rings with it.
            await asyncio.sleep(max(0.0, pause))

    async def _sent(self, payloads: list[str], *, quietly: bool) -> bool:
        """Sends once: a second time could repeat a broadcast, and a lost ring is only a delay."""
        try:
            await self._notify(payloads)
        except psycopg.Error as error:
            if not quietly:
                logger.warning("notifications can't be sent: %s", _short(error))
            await self._drop_sender()
            return False
        return True

    async def _notify(self, payloads: list[str]) -> None:
        async with self._sending:
            await self._notify_alone(payloads)

    async def _notify_alone(self, payloads: list[str]) -> None:
        if self._sender is None or not _is_alive(self._sender):
            await self._drop_sender()
            self._sender = await connect(self._conninfo, within=TIMEOUT)
        await statement(
            self._sender,
            "SELECT pg_notify(%s, message) FROM unnest(%s::text[]) AS message",
            (self._channel, payloads),
            within=TIMEOUT,
        )

    async def _send_last(self) -> None:
        payloads = self._outbox.take()
        if payloads and self._sender is not None and not self._sender.broken:
            await self._sent(payloads, quietly=True)

    async def _drop_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            await sender.close()

    # Receiving

    async def _listen(self) -> Connection:
        connection = await connect(self._conninfo, within=TIMEOUT)
        # Those that come with the answer of a statement.
        connection.add_notify_handler(lambda message: self._received(message.payload))
        try:
            await statement(connection, f'LISTEN "{self._channel}"', within=TIMEOUT)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _receive_always(self) -> None:
        failures = 0
        while True:
            try:
                if self._listening is None:
                    self._listening = await self._listen()
                    # Rings may have been lost meanwhile.
                    self._subscriptions.deliver_gap()
                failures = 0
                await self._receive(self._listening)
            except (psycopg.Error, Unavailable) as error:
                # A connection that is lost before its first notification says nothing of others.
                deaf = isinstance(error, Unavailable) and not self._heard
                if failures == 0 and not deaf:
                    logger.warning("notifications are not received: %s", _short(error))
            finally:
                listening, self._listening = self._listening, None
                if listening is not None:
                    await listening.close()
            await asyncio.sleep(DEAF_PAUSE if deaf else _pause(failures))
            failures += 1

    async def _receive(self, listening: Connection) -> None:
        """Receives until the connection is lost; raises then."""
        loop = asyncio.get_running_loop()
        lost = asyncio.Event()

        def end() -> None:
            lost.set()
            self._echo.set()

        reader = _Reader(listening, self._received, end)
        loop.add_reader(listening.fileno(), reader)
        try:
            reader()
            while not lost.is_set():
                await self._probe(lost)
                with suppress(TimeoutError):
                    async with asyncio.timeout(PROBE_INTERVAL):
                        await lost.wait()
            raise psycopg.OperationalError("the server has closed the connection")
        finally:
            loop.remove_reader(reader.socket)

    async def _probe(self, lost: asyncio.Event) -> None:
        """Returns when a notification of this node has come back to it, or the connection is lost;
        raises otherwise.
        """
        self._echo.clear()
        await self._notify(self._outbox.probe())
        # A blocked loop finds the notification and the end of the time together: so this asks what
        # has arrived, and not what came first.
        with suppress(TimeoutError):
            async with asyncio.timeout(ECHO):
                await self._echo.wait()
        if lost.is_set():
            return
        if not self._echo.is_set():
            if not self._heard:
                logger.warning(
                    "no notification of PostgreSQL arrives here, as behind a pooler that pools by "
                    "transaction: appends of other nodes are found by polling, and broadcasts do "
                    "not reach them"
                )
            raise Unavailable("No notification arrives.")
        self._heard = True

    def _received(self, text: str) -> None:
        if text.startswith(self._outbox.beginning):
            # Its own subscribers have heard it when it was published.
            self._echo.set()
            return
        message = decode(text)
        if message is None:
            logger.warning("a notification of another program was ignored")
            return
        sender, parts = message
        for channel, payload in self._reassembly.add(sender, parts):
            self._subscriptions.deliver(channel, payload)


class _Reader:
    """Called by the event loop when a listening connection can be read."""

    def __init__(
        self, connection: Connection, received: Callable[[str], None], end: Callable[[], None]
    ) -> None:
        self.socket: Final = connection.fileno()
        self._libpq = connection.pgconn
        self._received = received
        self._end = end

    def __call__(self) -> None:
        try:
            self._libpq.consume_input()
        except psycopg.Error:
            # Otherwise the loop would call again at once, at full load of a core.
            asyncio.get_running_loop().remove_reader(self.socket)
            self._end()
        while notification := self._libpq.notifies():
            self._received(notification.extra.decode())


def _is_alive(connection: Connection) -> bool:
    """Whether the server has not closed it, as far as this side was told."""
    with suppress(psycopg.OperationalError):
        # The first read may bring the server's last words, and only the second one the end.
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
        return not connection.broken
    return False


def _pause(failures: int) -> float:
    return _PAUSES[min(failures, len(_PAUSES) - 1)] * random.uniform(0.5, 1.5)


def _short(error: Exception) -> str:
    """The first line: the others hold no more for whoever reads the log."""
    return str(error).strip().partition("\n")[0]
