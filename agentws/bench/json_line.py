"""All figures as one line of JSON, with the versions of what was measured."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata

import msgspec

from .overhead.report import Row, row_as_json
from .stores.report import Result

_PACKAGES = ("uvicorn", "starlette", "websockets", "uvloop", "httptools", "redis", "psycopg")


def as_json(rows: Sequence[Row], results: Sequence[Result], notes: list[str]) -> str:
    """All figures and notes, in one line of JSON."""
    all_of_it = {
        "environment": environment(),
        "notes": notes,
        "workloads": list(map(row_as_json, rows)),
        "stores": [each.as_json() for each in results],
    }
    return msgspec.json.encode(all_of_it).decode()


def environment() -> dict[str, str]:
    """The versions of Python, the system and the packages that were measured."""
    versions = {"python": platform.python_version(), "system": platform.platform()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions
