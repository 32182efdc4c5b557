"""The stores that several nodes may share, each as a URL for the time of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STORES = ("sqlite",)


@contextmanager
def store_url(name: str, folder: Path) -> Iterator[str]:
    """Starts the store's server, if it has one; gives the URL for ``--store``."""
    match name:
        case "sqlite":
            yield f"sqlite:{folder / 'chat.sqlite3'}"
        case _:
            raise ValueError(f"{name!r} is not a store; expected one of {STORES}")
