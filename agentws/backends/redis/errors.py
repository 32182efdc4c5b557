"""What the errors of a Redis server and of its client mean to a store."""

from __future__ import annotations

import ssl
from typing import Final, NamedTuple

from redis import exceptions as redis

from ...errors import AgentwsError, Misconfigured, StorageFull, Unavailable


class Moved(Unavailable):
    """Another server of the cluster has this slot now."""

    summary = "The Redis cluster has moved this session."


class Moving(Unavailable):
    """The slot is on its way to another server of the cluster."""

    summary = "The Redis cluster is moving this session."


class Unreached(Unavailable):
    """There is no connection, so that nothing was sent."""

    summary = "The Redis server can't be reached."


class _Meaning(NamedTuple):
    kinds: tuple[type[Exception], ...]
    """The exceptions of redis-py for it."""
    text: str
    """A part of its text, as old servers put the error of a script's command into a general one."""
    sentence: str
    error: type[Unavailable] = Unavailable


_REPLICA: Final = _Meaning(
    (redis.ReadOnlyError,),
    "-READONLY ",
    "The Redis server is a replica, which can't be written to.",
)
_FULL: Final = _Meaning((redis.OutOfMemoryError,), "OOM command not allowed", "")
_MEANINGS: Final = (
    _REPLICA,
    _Meaning((redis.MovedError,), "-MOVED ", Moved.summary, Moved),
    _Meaning(
        (redis.AskError, redis.TryAgainError),
        "attempted to access a non local key",
        Moving.summary,
        Moving,
    ),
    _Meaning((redis.BusyLoadingError,), "LOADING ", "The Redis server is loading its data."),
    _Meaning((redis.MasterDownError,), "MASTERDOWN ", "The Redis replica has no primary."),
    _Meaning((redis.ClusterDownError,), "CLUSTERDOWN ", "The Redis cluster is down."),
    _Meaning((), "MISCONF ", "The Redis server can't write to its disk."),
    _Meaning((), "NOREPLICAS ", "The Redis server has too few replicas."),
    _Meaning((), "BUSY ", "The Redis server is busy with a script."),
    _Meaning(
        (redis.NoPermissionError,), "NOPERM ", "The Redis user may not do this.", Misconfigured
    ),
    _Meaning(
        (redis.AuthenticationError,),
        "NOAUTH ",
        "The Redis server refused the user or password.",
        Misconfigured,
    ),
    _Meaning(
        (), "DB index is out of range", "The Redis server has no such database.", Misconfigured
    ),
    _Meaning((ssl.SSLError,), "SSL: ", "The Redis server and this node can't agree on TLS."),
    _Meaning(
        (redis.ConnectionError, redis.TimeoutError, OSError, TimeoutError),
        "max number of clients",
        "The Redis server can't be reached.",
    ),
)


def is_replica(error: Exception) -> bool:
    """Whether the server refused a write because it is a replica, perhaps since a failover."""
    return _means(_REPLICA, error)


def needs_scripts(error: Exception) -> bool:
    """Whether the server does not know a script: they were flushed, or it has restarted."""
    return isinstance(error, redis.NoScriptError)


def translated(error: Exception) -> AgentwsError:
    """The error that a caller gets, which reveals no addresses and no commands."""
    if isinstance(error, AgentwsError):
        return error
    made: AgentwsError = Unavailable("The Redis server failed.")
    if _means(_FULL, error):
        made = StorageFull()
    else:
        for meaning in _MEANINGS:
            if _means(meaning, error):
                made = meaning.error(meaning.sentence)
                break
    made.__cause__ = error
    return made


def unreached(error: Exception) -> AgentwsError:
    """The error of a connection that could not be made."""
    meant = translated(error)
    if type(meant) is not Unavailable:
        return meant
    made = Unreached(str(meant))
    made.__cause__ = error
    return made


def _means(meaning: _Meaning, error: Exception) -> bool:
    return isinstance(error, meaning.kinds) or meaning.text in str(error)
