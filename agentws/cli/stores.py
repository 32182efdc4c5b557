"""The stores that ``--store`` can name, by the first word of its value."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args
from urllib.parse import parse_qsl

from ..backends.memory import MemoryStore
from ..backends.sqlite import SQLiteStore
from ..backends.sqlite.path import database_path
from ..errors import Misconfigured, Unavailable
from ..store import Durability, Store
from .problem import USAGE, Problem

SHARED_STORES: Final = "sqlite:PATH, redis://HOST or postgresql://HOST/DATABASE"
STORES: Final = f"memory, {SHARED_STORES}"
MEMORY: Final = "memory"

_SCHEME: Final = re.compile(r"([a-z]+)(\+\w+)?(?::|$)", re.I)


class _Kind(NamedTuple):
    """A kind of store: how its text is checked and shown, and how it is made.

    ``check`` raises ValueError, ``place`` raises Problem for one that can't be there.
    """

    make: Callable[[str], Store]
    check: Callable[[str], object]
    shown: Callable[[str], str]
    place: Callable[[str], object]
    files: Callable[[str], str | None]
    """The folder of files beside it, if it has one."""


def read_store(text: str) -> str:
    """The value of ``--store``, checked. Raises ArgumentTypeError."""
    kind = _KINDS.get(_scheme(text))
    if kind is None or (_scheme(text) == MEMORY) != (text == MEMORY):
        raise argparse.ArgumentTypeError(
            f"{_server_shown(text)!r} is not a store; expected {STORES}"
        )
    try:
        kind.check(text)
    except ValueError as error:
        hint = MEMORY if "MemoryStore" in str(error) else STORES
        raise argparse.ArgumentTypeError(f"{error}; expected {hint}") from error
    return text


def store_of(text: str) -> Store:
    """Raises Problem."""
    try:
        return _kind(text).make(text)
    except (ImportError, ValueError) as error:
        raise Problem(f"--store: {error}", status=USAGE) from error


def shown_store(text: str) -> str:
    """Where the store is, without a password."""
    return _kind(text).shown(text)


def folder_beside(text: str) -> str | None:
    """The folder in which files are kept beside the store; ``None`` when it has none."""
    return _kind(text).files(text)


def check_store(text: str) -> None:
    """Opens and closes the store, so that one that can't be used is reported first, in one line.

    An outage of it only gives a warning: the server starts, and tries again.
    """
    if text == MEMORY:
        return
    _kind(text).place(text)

    async def try_out() -> None:
        store = store_of(text)
        await store.open()
        await store.close()

    try:
        asyncio.run(try_out())
    except Misconfigured as error:
        raise Problem(f"the store {shown_store(text)} can't be opened: {error}") from error
    except Unavailable as error:
        where = shown_store(text)
        print(f"WARNING: the store {where} can't be opened yet: {error}", file=sys.stderr)


def _kind(text: str) -> _Kind:
    return _KINDS[_scheme(text)]


def _scheme(text: str) -> str:
    found = _SCHEME.match(text)
    return found[1].lower() if found else ""


def _hidden(text: str) -> str:
    """``text`` without what may be a password."""
    return re.sub(r"//.*@", "//...@", text, flags=re.S)


def _server_shown(text: str) -> str:
    """Without the query, in which there may be a password, too."""
    return _hidden(text.partition("?")[0])


def _split_options(text: str, *names: str) -> tuple[str, dict[str, Any]]:
    """The address without the options of these names in its query, and these options.

    The rest stays as it was written, as each client library has its own rules for it: libpq takes
    "+" as it is, and a password may have a "#".
    """
    address, _, query = text.partition("?")
    parts = [part for part in query.split("&") if part]
    ours = [part for part in parts if part.partition("=")[0] in names]
    options: dict[str, Any] = dict(parse_qsl("&".join(ours), keep_blank_values=True))
    _check_durability(options)
    rest = "&".join(part for part in parts if part not in ours)
    return f"{address}?{rest}" if rest else address, options


def _whole_number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{name}={value} is not a whole number")
    return int(value)


def _check_durability(options: dict[str, Any]) -> None:
    if options.get("durability", "process") not in get_args(Durability):
        raise ValueError(f"durability={options['durability']} is none of process, disk, replicated")


# SQLite


def _sqlite_place(text: str) -> None:
    path = Path(database_path(text))
    if not path.parent.is_dir():
        raise Problem(f"there is no directory {path.parent} for the store")
    if path.is_dir():
        raise Problem(f"{path} is a directory; expected a file for the store")


# Redis: imported when it is used, as it is an extra


def _redis(text: str) -> Store:
    from ..backends.redis import RedisStore

    url, options = _redis_options(text)
    return RedisStore(url, **options)


def _redis_address(text: str) -> None:
    if not re.match(r"(rediss?://|unix:///)", text, re.I):
        raise ValueError(f"{_server_shown(text)!r} is no address of a Redis server")
    _redis_options(text)


def _redis_options(text: str) -> tuple[str, dict[str, Any]]:
    """The address for the client, and the options of the store that were in its query."""
    url, options = _split_options(text, "durability", "namespace", "replicas")
    if "replicas" in options:
        options["replicas"] = _whole_number("replicas", options["replicas"])
    return url, options


# PostgreSQL: imported when it is used, as it is an extra


def _postgres(text: str) -> Store:
    from ..backends.postgres import PostgresStore

    url, options = _postgres_options(text)
    return PostgresStore(url, **options)


def _postgres_address(text: str) -> None:
    if not re.match(r"postgres(ql)?(\+\w+)?://", text, re.I):
        raise ValueError(f"{_server_shown(text)!r} is no address of a PostgreSQL server")
    _postgres_options(text)


def _postgres_options(text: str) -> tuple[str, dict[str, Any]]:
    """The address for libpq, and the options of the store that were in its query."""
    return _split_options(text, "durability", "schema")


_REDIS: Final = _Kind(
    make=_redis, check=_redis_address, shown=_server_shown, place=str, files=lambda text: None
)
_POSTGRES: Final = _Kind(
    make=_postgres,
    check=_postgres_address,
    shown=_server_shown,
    place=str,
    files=lambda text: None,
)
_KINDS: Final = {
    MEMORY: _Kind(
        make=lambda text: MemoryStore(),
        check=str,
        shown=str,
        place=str,
        files=lambda text: None,
    ),
    "sqlite": _Kind(
        make=SQLiteStore,
        check=database_path,
        shown=database_path,
        place=_sqlite_place,
        files=lambda text: f"{database_path(text)}.files",
    ),
    "redis": _REDIS,
    "rediss": _REDIS,
    "unix": _REDIS,
    "postgres": _POSTGRES,
    "postgresql": _POSTGRES,
}
