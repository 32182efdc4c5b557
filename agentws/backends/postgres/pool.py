"""Connections to PostgreSQL: a pool, and what all calls share (deadlines, retries, errors).

Connections are in autocommit mode and nothing is prepared or set on them, so a pooler between here
and the server may give each statement another server connection (transaction pooling).
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, Protocol, TypeVar

try:
    import psycopg
    import psycopg_pool
    from psycopg import AsyncConnection
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
except ImportError as error:
    raise ImportError(
        'a store in PostgreSQL needs psycopg: pip install "agentws[postgres]"'
    ) from error

from ...errors import AgentwsError, BadRequest, StorageFull, Unavailable

Connection = AsyncConnection[tuple[Any, ...]]
Result = TypeVar("Result")
Work = Callable[[Connection, bool], Awaitable[Result]]
"""Does one thing over a connection. The flag: an earlier attempt may have done it already."""

ATTEMPTS: Final = 4
"""A call that failed for a transient reason is made again at most three times."""
_PAUSE: Final = 0.05
"""Seconds before the second attempt, on average; each further one waits twice as long."""
_URL: Final = re.compile(r"postgres(ql)?(\+\w+)?://", re.I)
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# PostgreSQL keeps pg_ for itself.
_SCHEMA: Final = re.compile(r"(?!pg_)[A-Za-z_][A-Za-z0-9_]{0,47}")

_SENTENCES: Final = {
    "08": "The database can't be reached.",
    "40": "The database was too busy with concurrent changes.",
    "53": "The database has no resources left.",
    "57": "The database is shutting down or starting.",
}
"""By the class of the SQLSTATE."""
_EXACT: Final = {
    "25006": "The database can't be written to: it is read-only.",
    "42501": "The database does not permit this to the role of the store.",
    "42P01": "The schema of the store is missing.",
    "42883": "The schema of the store is missing.",
    "3F000": "The schema of the store is missing.",
    "55P03": "The session is locked by another program.",
    "57014": "The database cancelled the query.",
}
_REFUSED: Final = (
    "The server refused the connection: the name of the database, the role or the password may be "
    "wrong, or it has no connection left."
)
_FULL: Final = "53100"
_LOCKED: Final = "55P03"
_REFUSED_STATEMENT: Final = frozenset({"40001", "40P01"})
"""A serialization failure and a deadlock: the statement has done nothing."""
_LOST: Final = frozenset({"25006", "57P01", "57P02", "57P03", "57P05"})
"""The server ends this connection, or is not the one to write to any more (a failover)."""


def connection_string(url: str) -> str:
    """``url`` as libpq takes it, with timeouts for a server that does not answer.

    Takes a URL as SQLAlchemy writes it, too (``postgresql+psycopg://``), and the ``key=value`` form
    of libpq. Raises ValueError without repeating the text, which may hold a password; TypeError.
    """
    if not isinstance(url, str):
        raise TypeError(
            f"the address of the PostgreSQL database is {type(url).__name__}; expected a str"
        )
    try:
        given = conninfo_to_dict(_URL.sub("postgresql://", url, count=1))
    except psycopg.Error:
        given = {}
    if not given:
        raise ValueError(
            "this is not the address of a PostgreSQL database; expected "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        )
    _check_parameters(given)
    known: dict[str, Any] = {"application_name": "agentws", "keepalives_idle": 10}
    known |= {"keepalives_interval": 5, "keepalives_count": 3}
    return make_conninfo(**{**known, **given})


def _check_parameters(given: Mapping[str, Any]) -> None:
    """Raises ValueError for what libpq would find out at each attempt to connect only."""
    for port in str(given.get("port") or "").split(","):
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
            raise ValueError(f"the port of the PostgreSQL server is {port!r}; expected 1 to 65535")
    mode = given.get("sslmode", "prefer")
    if mode not in _SSL_MODES:
        raise ValueError(f"sslmode is {mode!r:.100}; expected one of {', '.join(_SSL_MODES)}")


def quoted_schema(name: str) -> str:
    """The identifier for SQL. Raises ValueError for a name that is not a plain one."""
    if not isinstance(name, str) or not _SCHEMA.fullmatch(name):
        raise ValueError(
            f"the schema is {name!r:.100}; expected 1 to 48 of A-Z a-z 0-9 _, not a digit or pg_ "
            "first"
        )
    return f'"{name}"'


def translate(error: psycopg.Error) -> AgentwsError:
    """The error of ours for one of PostgreSQL; it reveals no address, query or value."""
    state = error.sqlstate or ""
    if state == _FULL:
        return StorageFull()
    if isinstance(error, psycopg.DataError) and state[:2] in ("", "22"):
        return BadRequest("The database can't keep this text.", expected="text without U+0000")
    if isinstance(error, psycopg.OperationalError) and not state:
        # libpq gives no code for what happens while it connects. A server that answers says FATAL.
        return Unavailable(_REFUSED if "FATAL:" in str(error) else _SENTENCES["08"])
    sentence = _EXACT.get(state) or _SENTENCES.get(state[:2])
    return Unavailable(sentence or "The database failed.")


def is_down(error: Exception) -> bool:
    """Whether it is the database that failed, and not what it was asked for."""
    cause = error.__cause__
    locked = isinstance(cause, psycopg.Error) and cause.sqlstate == _LOCKED
    return type(error) is Unavailable and not locked


class Waiting(Protocol):
    """What waits for the next statement."""

    @property
    def since(self) -> float:
        """When it was submitted, in seconds of the event loop's clock."""


Waiter = TypeVar("Waiter", bound=Waiting)


def take_overdue(queue: deque[Waiter], timeout: float) -> list[Waiter]:
    """Takes those out that have waited for ``timeout``, when a statement has found the database
    down: nobody waits for one timeout of each statement before it.

    The others stay to be sent, since the database may be back.
    """
    latest = asyncio.get_running_loop().time() - timeout
    overdue = [waiting for waiting in queue if waiting.since <= latest]
    left = [waiting for waiting in queue if waiting.since > latest]
    queue.clear()
    queue.extend(left)
    return overdue


@contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise translate(error) from error


def disconnect(connection: Connection) -> None:
    """Ends the call in progress on the connection, which then fails.

    Nothing else ends one on a server that does not answer: psycopg would wait for it to confirm the
    cancellation.
    """
    if connection.closed:
        return
    own = socket.socket(fileno=connection.fileno())
    try:
        own.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # It was closed by the other side.
    finally:
        own.detach()


@contextmanager
def until(end: float, connection: Connection) -> Iterator[None]:
    """Ends a call on the connection that is still in progress at that time of the event loop."""
    timer = asyncio.get_running_loop().call_at(end, disconnect, connection)
    try:
        yield
    finally:
        timer.cancel()


async def statement(
    connection: Connection, query: str, values: Sequence[object] = (), *, within: float
) -> None:
    """Runs one statement to its end, at most ``within`` seconds, also when the caller is cancelled.

    The cancellation is raised then. psycopg waits in ``asyncio.wait_for``, which on Python 3.11
    loses a cancellation that arrives together with the answer.
    """
    end = asyncio.get_running_loop().time() + within
    with until(end, connection):
        running = asyncio.ensure_future(connection.execute(query, values or None))
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # Nobody waits for it any more.
            raise


async def connect(conninfo: str, *, within: float) -> Connection:
    """A connection besides those of the pool. Raises ``psycopg.Error``.

    A cancellation is never lost; see :func:`statement`.
    """
    opening = asyncio.ensure_future(_connect(conninfo, within))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.cancel()
        with suppress(psycopg.Error, asyncio.CancelledError):
            await (await opening).close()
        raise


async def _connect(conninfo: str, within: float) -> Connection:
    try:
        async with asyncio.timeout(within):
            return await AsyncConnection.connect(conninfo, **_connecting(within))
    except TimeoutError as error:
        raise psycopg.OperationalError("connecting takes too long") from error


class Database:
    """The pooled connections of one store.

    ``timeout``: seconds after which a call raises Unavailable, whatever the server does.
    """

    def __init__(self, url: str, *, size: int, timeout: float) -> None:
        self.conninfo: Final = connection_string(url)
        self.timeout: Final = timeout
        self._size: Final = size
        self._pool: psycopg_pool.AsyncConnectionPool[Connection] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._calls: set[asyncio.Task[Any]] = set()

    @property
    def place(self) -> str:
        """Which database it is, without its credentials."""
        known = conninfo_to_dict(self.conninfo)
        return f"{known.get('host', '')}/{known.get('dbname', '')}"

    @property
    def is_open(self) -> bool:
        return self._pool is not None

    async def open(self) -> None:
        """Connects once. Raises Unavailable when that fails, instead of waiting for a server."""
        with translated():
            first = await connect(self.conninfo, within=self.timeout)
            await first.close()
        self._pool = psycopg_pool.AsyncConnectionPool(
            self.conninfo,
            min_size=1,
            max_size=self._size,
            open=False,
            configure=self._made,
            kwargs=_connecting(self.timeout),
            # Short, so that the pause between two attempts never becomes long.
            reconnect_timeout=1.5,
            name="agentws",
        )
        self._loop = asyncio.get_running_loop()
        await self._pool.open()

    async def _made(self, connection: Connection) -> None:
        self._connections.add(connection)

    async def close(self) -> None:
        """Waits for the calls in progress, then closes all connections."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if self._loop is not asyncio.get_running_loop():
            # Nothing of the pool runs any more, as its event loop was closed.
            for connection in tuple(self._connections):
                await connection.close()
            return
        if self._calls:
            await asyncio.wait(self._calls)
        await pool.close()

    async def call(self, work: Work[Result], *, within: float | None = None) -> Result:
        """What ``work`` returns. It goes on if the caller is cancelled. Raises Unavailable.

        A transient failure is tried again, on another connection if that one was lost, ``within``
        seconds (by default the timeout of the database).
        """
        call = asyncio.ensure_future(self.run(work, within=within))
        self._calls.add(call)
        call.add_done_callback(self._forget)
        return await asyncio.shield(call)

    def _forget(self, call: asyncio.Future[Any]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # Nobody may be waiting for it any more.

    async def run(self, work: Work[Result], *, within: float | None = None) -> Result:
        """As :meth:`call`, in the task of the caller, who must not be cancelled."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (within or self.timeout)
        uncertain = False
        for attempt in range(ATTEMPTS):
            try:
                return await self._attempt(work, uncertain, end)
            except psycopg.Error as error:
                lost = _is_lost(error)
                last = attempt == ATTEMPTS - 1 or loop.time() >= end
                if last or not (lost or error.sqlstate in _REFUSED_STATEMENT):
                    raise translate(error) from error
            uncertain = uncertain or lost
            if lost:
                await self._replace_connections()
            await asyncio.sleep(_PAUSE * 2**attempt * random.uniform(0.5, 1.5))
        raise AssertionError("unreachable")

    async def _attempt(self, work: Work[Result], uncertain: bool, end: float) -> Result:
        pool, loop = self._pool, asyncio.get_running_loop()
        if pool is None:
            raise Unavailable("The store is not open.")
        try:
            connection = await pool.getconn(timeout=max(0.0, end - loop.time()))
        except (psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed) as error:
            raise Unavailable("The database can't be reached.") from error
        try:
            with until(end, connection):
                return await work(connection, uncertain)
        except psycopg.Error as error:
            if error.sqlstate in _LOST:
                await connection.close()
            raise
        finally:
            await pool.putconn(connection)

    async def _replace_connections(self) -> None:
        """The idle ones are probably lost as well: the server was restarted, or has failed over."""
        if self._pool is not None:
            await self._pool.drain()


def _connecting(timeout: float) -> dict[str, Any]:
    """How each connection is opened."""
    return {
        "autocommit": True,
        # A prepared statement would belong to one connection of the server.
        "prepare_threshold": None,
        "connect_timeout": max(2, round(timeout)),
    }


def _is_lost(error: psycopg.Error) -> bool:
    """Whether the connection is lost, and with it the outcome of its last statement."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    return state[:2] == "08" or state in _LOST
