"""Makes connections to the Redis server of a URL."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any, Final, cast
from urllib.parse import urlsplit

from redis.asyncio.connection import AbstractConnection, ConnectionPool, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import RedisError
from redis.utils import HIREDIS_AVAILABLE

logger: Final = logging.getLogger("agentws")

_ADDRESS: Final = (
    "redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER], rediss://... or unix:///PATH, with special "
    "characters of a password encoded (%23 for #)"
)
_DATABASE: Final = re.compile(r"/?[0-9]*")
_OWN: Final[dict[str, Any]] = {
    # Deadlines and retries are those of whole exchanges, not of a connection's single steps.
    "socket_timeout": None,
    "protocol": 2,
    "decode_responses": False,
    "encoding": "utf-8",
}
"""What the code relies on, whatever the address says."""
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")

Command = tuple[str | bytes | int, ...]
Address = tuple[str, int]


def packer_of(pool: ConnectionPool) -> Callable[[Command], bytes]:
    """Returns a command as it is on the wire of the pool's connections."""
    untyped: Any = pool
    # The encoder in C, or else that of a connection which is never connected.
    encoder: Any = HiredisRespSerializer()
    pack = encoder.pack if HIREDIS_AVAILABLE else untyped.make_connection().pack_command
    return lambda command: b"".join(pack(*command))


def pool_of(url: str, *, address: Address | None = None, **options: Any) -> ConnectionPool:
    """Makes connections to the server at ``url``, or to another one of its cluster, by ``address``.

    Raises ValueError for an address that is none, and for an option in it that redis-py does not
    know, or that the store sets itself.
    """
    settings: dict[str, Any] = {**options, **_parsed(url), **_OWN}
    settings["retry"] = Retry(NoBackoff(), 0)
    if address is not None:
        settings["host"], settings["port"] = address
    pool = ConnectionPool(**settings)
    try:
        # It does not connect: redis-py looks at its options here, and otherwise at each attempt.
        cast("Any", pool).make_connection()
    except (TypeError, ValueError, RedisError) as error:
        reason = str(error).removeprefix("AbstractConnection.__init__() ")
        raise ValueError(f"an option in the address of the Redis server: {reason}") from None
    return pool


def _parsed(url: object) -> dict[str, Any]:
    """The options of redis-py in ``url``. The error does not repeat it: it may hold a password."""
    if not isinstance(url, str):
        raise TypeError(f"the address of the Redis server is {type(url).__name__}; expected a str")
    wrong = ValueError(f"this is not the address of a Redis server; expected {_ADDRESS}")
    try:
        found, parts = cast("dict[str, Any]", parse_url(url)), urlsplit(url)
    except ValueError:
        raise wrong from None
    # redis-py takes the first database instead of one that is no number.
    database = str(found["db"]) if "db" in found else "" if "path" in found else parts.path
    # After a "#" in a password all else is a fragment, the host too.
    if parts.fragment or not _DATABASE.fullmatch(database):
        raise wrong
    for name, value in _OWN.items():
        if name in found and str(found[name]) != str(value):
            raise ValueError(f"{name} in the address of the Redis server; expected none")
    return found


async def connected(pool: ConnectionPool) -> AbstractConnection:
    """A new connection that is ready for commands; it does not return to the pool."""
    untyped: Any = pool
    connection = untyped.make_connection()
    await connection.connect()
    return cast("AbstractConnection", connection)


async def disconnect(connection: AbstractConnection | None) -> None:
    """Drops a connection, in whatever state it is."""
    if connection is None:
        return
    try:
        await connection.disconnect(nowait=True)
        # Its socket is closed in the next pass of the event loop, which may be the last one.
        await asyncio.sleep(0)
    except Exception as error:
        logger.debug("a connection to Redis did not close: %r", error)


def place_of(url: str) -> str:
    """The server in ``url``, without user, password and options."""
    parts = parse_url(url)
    return str(parts.get("path") or f"{parts.get('host', 'localhost')}:{parts.get('port', 6379)}")


def check_namespace(namespace: str) -> str:
    """``namespace``; raises ValueError if keys can't begin with it."""
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise ValueError(f"{namespace!r} is not a namespace; expected 1 to 64 of A-Z a-z 0-9 _ . -")
    return namespace
