"""PostgreSQL servers and a pooler for tests: started, stopped, killed, paused, restarted."""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, Self

import psycopg

from tests.ports import free_port

FAST: Final[Mapping[str, str]] = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
}
"""For what does not depend on durability: a power cut would damage the database."""
DURABLE: Final[Mapping[str, str]] = {"fsync": "on", "synchronous_commit": "on"}
_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "max_wal_size": "64MB",
    "shared_buffers": "16MB",
    "log_min_messages": "warning",
    "autovacuum_naptime": "5s",
}
_PATIENCE: Final = 30.0
_TRIES: Final = 5
Command = Sequence[str | Path]
How = Literal["fast", "immediate"]
_SIGNALS: Final = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class PostgresServer:
    """A server of its own on a free port, with a new database cluster in a temporary folder.

    A context manager that starts it, and at the end kills it and deletes its folder. ``settings``
    are those of postgresql.conf.
    """

    def __init__(self, settings: Mapping[str, str] = FAST) -> None:
        self.port = 0
        self.settings = dict(settings)
        self._home = Path(tempfile.mkdtemp(prefix="agentws-postgres-", dir="/tmp"))
        self._data = self._home / "data"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def url_of(self, *, database: str = "postgres", role: str = "postgres") -> str:
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"

    @property
    def output(self) -> str:
        log = self._home / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def __enter__(self) -> Self:
        try:
            _own(self._home)
            _copy(cluster(), self._data)
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def start(self) -> None:
        """Returns when it answers queries: on a free port at first, and on the same port later.

        Recovers first, if it was killed.
        """
        command: Command = [programs() / "postgres", "-D", self._data]
        is_first = self.port == 0
        for left in reversed(range(_TRIES if is_first else 1)):
            if is_first:
                self.port = free_port()
            self._configure()
            begun = len(self.output)
            self._process = _spawn(command, self._home / "log")
            try:
                return _wait_until(self._answers, self._process, lambda: self.output)
            except AssertionError:
                # Another process may have taken the port meanwhile.
                if not left or "Address already in use" not in self.output[begun:]:
                    raise

    def _configure(self) -> None:
        """In a file and not as arguments, so that ``ALTER SYSTEM`` can change the settings."""
        given = {**_SETTINGS, **self.settings, "port": str(self.port)}
        given["unix_socket_directories"] = str(self._home)
        lines = [f"{name} = '{value}'\n" for name, value in given.items()]
        (self._data / "tests.conf").write_text("".join(lines))
        _own(self._data / "tests.conf")

    def _answers(self) -> bool:
        """Whether it is this server that answers, and not another one that has taken its port."""
        with suppress(psycopg.OperationalError):
            return self.query("SHOW data_directory") == [(str(self._data),)]
        return False

    def query(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """The rows of a query, over a connection of its own."""
        connection = psycopg.connect(self.url, autocommit=True, connect_timeout=5)
        with connection:
            cursor = connection.execute(query.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def stop(self, how: How = "fast") -> None:
        """``fast`` ends all sessions and shuts down; ``immediate`` is as a crash of the server."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(_SIGNALS[how])
            self._process.wait(_PATIENCE)

    def restart(self, how: How = "fast") -> None:
        self.stop(how)
        self.start()

    def kill(self) -> None:
        """Kills all of its processes with SIGKILL."""
        if self._process is not None:
            for pid in self._pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(_PATIENCE)

    def pause(self) -> None:
        """Freezes all of its processes (SIGSTOP): connections stay open, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _pids(self) -> list[int]:
        """The postmaster first: it makes no new process once it is stopped."""
        assert self._process is not None
        main = self._process.pid
        children = Path(f"/proc/{main}/task/{main}/children")
        with suppress(FileNotFoundError):
            return [main, *map(int, children.read_text().split())]
        return [main]

    def disconnect_all(self) -> int:
        """Terminates every other session (``pg_terminate_backend``); returns how many."""
        rows = self.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return len(rows)

    def save(self, name: str) -> None:
        """Keeps a copy of the database as it is now; the server is stopped meanwhile."""
        self.stop()
        _copy(self._data, self._home / name)
        self.start()

    def restore(self, name: str) -> None:
        """Puts the copy in the place of the database, as an administrator restores a backup."""
        self.stop()
        shutil.rmtree(self._data)
        _copy(self._home / name, self._data)
        self.start()

    @contextmanager
    def standby(self, name: str) -> Iterator[PostgresServer]:
        """A hot standby of this server, which streams from it under that application name."""
        other = PostgresServer(self.settings)
        try:
            _own(other._home)
            copy: Command = [programs() / "pg_basebackup", "-D", other._data, "-R", "-c", "fast"]
            source = f"{self.url}?application_name={name}"
            _run([*copy, "-d", source])
            other.start()
            yield other
        finally:
            other.__exit__()


class PgBouncer:
    """A pooler in front of a server, in ``transaction`` mode; a context manager."""

    def __init__(self, server: PostgresServer) -> None:
        self.port = free_port()
        self._server = server
        self._home = Path(tempfile.mkdtemp(prefix="agentws-pgbouncer-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Self:
        program = os.environ.get("AGENTWS_PGBOUNCER") or shutil.which(
            "pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin"
        )
        assert program, "there is no PgBouncer; set AGENTWS_PGBOUNCER"
        config = self._home / "pgbouncer.ini"
        config.write_text(
            f"""
            [databases]
            * = host=127.0.0.1 port={self._server.port} user=postgres
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {self.port}
            unix_socket_dir =
            auth_type = any
            pool_mode = transaction
            default_pool_size = 5
            """.replace("            ", "")
        )
        _own(self._home)
        try:
            self._process = _spawn([program, config], self._home / "log")
            _wait_until(self._answers, self._process, (self._home / "log").read_text)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(_PATIENCE)
        shutil.rmtree(self._home, ignore_errors=True)

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url, connect_timeout=5).close()
            return True
        return False


@functools.cache
def programs() -> Path:
    """The folder of the server's programs: the one that ``AGENTWS_POSTGRES`` names, or on PATH."""
    on_path = shutil.which("postgres")
    named = os.environ.get("AGENTWS_POSTGRES") or (on_path and Path(on_path).resolve().parent)
    assert named, "there is no PostgreSQL; set AGENTWS_POSTGRES"
    folder = Path(named)
    if all(parent.stat().st_mode & 0o001 for parent in folder.parents):
        return folder
    # The user that the server runs as can't reach them there.
    reachable = _temporary("agentws-programs-") / "install"
    shutil.copytree(folder.parent, reachable)
    _own(reachable.parent)
    return reachable / folder.name


@functools.cache
def cluster() -> Path:
    """A new database cluster, to be copied: making one takes seconds."""
    home = _temporary("agentws-cluster-")
    _own(home)
    making: Command = [programs() / "initdb", "-D", home / "data", "-U", "postgres", "--auth=trust"]
    _run([*making, "--no-sync", "--encoding=UTF8", "--locale=C"])
    with (home / "data" / "postgresql.conf").open("a") as file:
        file.write("include 'tests.conf'\n")
    return home / "data"


def _temporary(prefix: str) -> Path:
    """A folder that is deleted when the tests end."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _user() -> pwd.struct_passwd | None:
    """Whom the servers run as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError("there is no user but root to run PostgreSQL")


def _own(folder: Path) -> None:
    """Gives the folder and all in it to the user that the servers run as."""
    user = _user()
    if user is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True)
    os.chmod(target, 0o700)
    _own(target)


def _spawn(command: Command, log: Path) -> subprocess.Popen[bytes]:
    user = _user()
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
            start_new_session=True,
        )


def _run(command: Command) -> None:
    with tempfile.TemporaryDirectory(prefix="agentws-run-", dir="/tmp") as folder:
        log = Path(folder) / "log"
        status = _spawn(command, log).wait(_PATIENCE)
        assert status == 0, f"{command[0]} failed: {log.read_text(errors='replace')}"


def _wait_until(
    condition: Callable[[], bool], process: subprocess.Popen[bytes], explain: Callable[[], str]
) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert process.poll() is None, f"the server exited: {explain()}"
        assert time.monotonic() < deadline, f"the server is not ready: {explain()}"
        time.sleep(0.02)
