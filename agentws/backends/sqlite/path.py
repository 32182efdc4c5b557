"""The path of an SQLite database, from the forms in which users write it."""

from __future__ import annotations

import errno
import os
import re
from typing import Final

from ...errors import Misconfigured

_EXPECTED: Final = (
    "the path of a file, as in 'chat.sqlite3' or '~/chat.sqlite3', or a URL of one: "
    "'sqlite:///relative/path' or 'sqlite:////absolute/path'"
)
# A URL of SQLAlchemy; the name of a driver in it is ignored.
_URL: Final = re.compile(r"sqlite(?:\+\w+)?:(.*)", re.I | re.S)
_OTHER_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|file:", re.I)
_IN_MEMORY: Final = ":memory:"


def database_path(given: str | os.PathLike[str]) -> str:
    """The absolute path for ``given``: a path, in which ``~`` is the home directory, or a URL.

    After ``sqlite:`` three slashes begin a relative path and four an absolute one; ``sqlite:PATH``
    without them is the path as it is. Raises ValueError, which says what was expected, for a
    database in memory, a ``file:`` URI, a directory or an empty path; TypeError for no path.
    """
    try:
        path = os.fsdecode(given)
    except TypeError:
        raise TypeError(f"the database is {given!r}; expected {_EXPECTED}") from None
    url = _URL.fullmatch(path)
    if url is not None:
        path = _of_url(given, url[1])
    if _IN_MEMORY in path or "mode=memory" in path:
        raise _in_memory(given)
    if not path.strip() or "\0" in path or _OTHER_URL.match(path):
        raise _wrong(given)
    if path.endswith(("/", os.sep)):
        raise ValueError(f"the database is {given!r}, a directory; expected {_EXPECTED}")
    # SQLite keeps its other files beside the target of a link, and processes that use a link and
    # the target have to find each other's sockets.
    return os.path.realpath(_with_home(given, path))


def check_place(path: str) -> None:
    """Raises Unavailable with the reason why no database can be at ``path``.

    SQLite would only say that it can't open the file. The path is in the cause of the error, which
    clients don't see.
    """
    parent = os.path.dirname(path)
    if os.path.isdir(path):
        number, where, why = errno.EISDIR, path, "its path is a directory"
    elif os.path.exists(path) and not os.path.isfile(path):
        # Opening a pipe would wait for ever, and a device keeps nothing.
        number, where, why = errno.EINVAL, path, "its path is no regular file"
    elif not os.path.isdir(parent):
        number, where, why = errno.ENOENT, parent, "there is no directory for it"
    else:
        return
    cause = OSError(number, os.strerror(number), where)
    raise Misconfigured(f"The database can't be opened: {why}.") from cause


def _of_url(given: object, rest: str) -> str:
    if isinstance(given, os.PathLike):
        # A path object has removed the slashes that distinguish a relative from an absolute path.
        raise _wrong(given)
    if rest in ("//", "///"):
        raise _in_memory(given)
    if rest.startswith("///"):
        rest = rest[3:]
    elif rest.startswith("//"):
        raise _wrong(given)
    if "?" in rest and _IN_MEMORY not in rest and "mode=memory" not in rest:
        raise ValueError(f"the database is {given!r}; expected a URL without options after a '?'")
    return rest


def _with_home(given: object, path: str) -> str:
    if not path.startswith("~"):
        return path
    expanded = os.path.expanduser(path)
    if expanded == path and not isinstance(given, os.PathLike):
        # A path object has removed a "./" that it may have been written with.
        raise ValueError(
            f"the database is {given!r}, and there is no such home directory; expected '~/path', "
            "or './~' for a name that begins with '~'"
        )
    return expanded


def _wrong(given: object) -> ValueError:
    return ValueError(f"the database is {given!r}; expected {_EXPECTED}")


def _in_memory(given: object) -> ValueError:
    return ValueError(
        f"the database is {given!r}; expected a file (MemoryStore() keeps sessions in memory)"
    )
