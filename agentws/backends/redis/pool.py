"""Makes connections to the Redis server of a URL."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any, Final, cast

from redis.asyncio.connection import AbstractConnection, ConnectionPool, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.utils import HIREDIS_AVAILABLE

logger: Final = logging.getLogger("agentws")

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

    Raises ValueError for an address that is none.
    """
    # Deadlines and retries are those of whole exchanges, not of a connection's single steps.
    settings: dict[str, Any] = {
        "socket_timeout": None,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        **options,
        **parse_url(url),
    }
    if address is not None:
        settings["host"], settings["port"] = address
    return ConnectionPool(**settings)


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
    if not _NAMESPACE.fullmatch(namespace):
        raise ValueError(f"{namespace!r} is not a namespace; expected 1 to 64 of A-Z a-z 0-9 _ . -")
    return namespace
