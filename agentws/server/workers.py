"""Worker processes: several servers on one port under one supervisor.

uvicorn has a supervisor too (`uvicorn.supervisors.Multiprocess`), not used for two reasons. It
always runs uvicorn's own server class, which closes connections before the application drains. And
it waits forever for a worker that does not end.
"""

from __future__ import annotations

import copy
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Final

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from .draining import Server
from .preset import collect_less_often

SHUTDOWN_SECONDS: Final = 40.0
"""Seconds that workers get to shut down gracefully; then they are killed. A drain takes less."""
RETRY_SECONDS: Final = 1.0
"""The pause before another try, if a worker could not start while others serve."""
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM)
_RESTART: Final = getattr(signal, "SIGHUP", None)

logger: Final = logging.getLogger("uvicorn.error")
_spawn: Final = multiprocessing.get_context("spawn")


class Workers:
    """Runs `count` worker processes of `config` on `sockets` until a signal ends them.

    * A worker that ends is replaced. One that fails to start is tried again while others serve;
      if none serves, all are stopped.
    * SIGTERM and SIGINT drain all workers; a second one ends the drain.
    * SIGHUP replaces the workers one by one: an old one drains once its replacement serves.
    * Workers notice the death of the supervisor and drain.

    `config.app` must be an import string, as each worker loads the application itself.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], count: int) -> None:
        self._config = config
        self._sockets = sockets
        self._count = count
        self._workers: list[_Worker] = []
        self._outdated: list[_Worker] = []
        """Workers that a rolling restart has not replaced yet."""
        self._retry_at: float | None = None
        self._kill_at: float | None = None
        """When the workers that still run are killed; `None` before the shutdown."""
        self._failed = False

    def run(self) -> bool:
        """Serves until a signal ends it, which is raised again. `False`: no worker could start."""
        stopped_by: list[int] = []
        try:
            with _signals() as received:
                while self._workers or self._kill_at is None:
                    self._start_missing()
                    self._wait(received)
                    for number in _read_signals(received):
                        if number == _RESTART:
                            self._outdated = [one for one in self._workers if not one.leaving]
                        else:
                            stopped_by.append(number)
                            self._stop(again=len(stopped_by) > 1)
                    self._update()
        finally:
            # Where this fails, Python would wait at its exit for workers that nobody stops.
            for worker in self._workers:
                worker.terminate()
        if stopped_by:
            signal.raise_signal(stopped_by[-1])
        return not self._failed

    def _start_missing(self) -> None:
        """Starts workers up to `count`, and one more while a rolling restart replaces one."""
        if self._kill_at is not None or time.monotonic() < (self._retry_at or 0.0):
            return
        self._retry_at = None
        staying = [one for one in self._workers if not one.leaving]
        wanted = self._count
        if self._outdated and len(staying) == wanted and all(one.serves for one in staying):
            wanted += 1
        for _ in range(wanted - len(staying)):
            self._workers.append(_Worker(self._config, self._sockets))

    def _wait(self, received: Connection) -> None:
        """Returns when a worker has started or ended, a signal was received, or a time has come."""
        times = [one for one in (self._retry_at, self._kill_at) if one is not None]
        timeout = max(0.0, min(times) - time.monotonic()) if times else None
        reports = [one.report for one in self._workers if not one.reported]
        wait([received, *reports, *(one.sentinel for one in self._workers)], timeout)

    def _update(self) -> None:
        for worker in tuple(self._workers):
            if worker.just_started():
                self._retire_one()
            if not worker.alive:
                self._workers.remove(worker)
                self._ended(worker)
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            for worker in self._workers:
                logger.error("Worker [%d] did not end in time and is killed", worker.pid)
                worker.kill()
            self._kill_at += SHUTDOWN_SECONDS

    def _retire_one(self) -> None:
        """Called when a worker serves: if it is one more than `count`, an outdated one drains."""
        staying = [one for one in self._workers if not one.leaving]
        if len(staying) > self._count and self._outdated:
            self._outdated.pop(0).terminate()

    def _ended(self, worker: _Worker) -> None:
        if worker in self._outdated:
            self._outdated.remove(worker)
        if worker.leaving:
            return
        how = f"Worker [{worker.pid}] ended unexpectedly ({worker.exit})"
        if worker.serves:
            logger.warning("%s; starting another one", how)
            return
        # Its application, its configuration or its store is broken: do not start it in a busy loop.
        self._outdated.clear()
        if any(one.serves for one in self._workers):
            logger.error("%s before it served; trying again", how)
            self._retry_at = time.monotonic() + RETRY_SECONDS
        elif not self._failed:
            logger.error("%s before it served; stopping", how)
            self._failed = True
            self._stop(again=False)

    def _stop(self, *, again: bool) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + SHUTDOWN_SECONDS
        self._retry_at = None
        # Workers close their copies. While this one is open, the system accepts connections.
        for listener in self._sockets:
            listener.close()
        for worker in self._workers:
            worker.terminate(signal.SIGINT if again else signal.SIGTERM)


class _Worker:
    """One worker process, as the supervisor sees it."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        self.report, reporting = _spawn.Pipe(duplex=False)
        self._process = _spawn.Process(target=_run, args=(config, sockets, reporting))
        with _interrupt_blocked():
            self._process.start()
        reporting.close()
        self.reported = False
        """Whether its report was read, or is missing because it has ended."""
        self.serves = False
        """Whether its start-up has succeeded."""
        self.leaving = False
        """Whether it was told to drain and end."""

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def sentinel(self) -> int:
        return self._process.sentinel

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    @property
    def exit(self) -> str:
        """How it ended: `exit code 3`, or `SIGKILL`."""
        code = self._process.exitcode or 0
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def just_started(self) -> bool:
        """Whether it has begun to serve since the last call. Reads its report."""
        if self.reported or not self.report.poll():
            return False
        self.reported = True
        try:
            self.serves = self.report.recv()
        except EOFError:
            self.serves = False
        self.report.close()
        return self.serves

    def terminate(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Tells it to drain and end, or with SIGINT after that, to end the drain."""
        self.leaving = True
        if self.alive:
            os.kill(self.pid, how)

    def kill(self) -> None:
        self._process.kill()


def worker_log_config() -> dict[str, Any]:
    """uvicorn's log configuration with the process id in every line, of all loggers."""
    config: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    config["formatters"]["default"]["fmt"] = "%(levelprefix)s [%(process)d] %(message)s"
    config["root"] = {"handlers": ["default"], "level": "WARNING"}
    return config


# In the worker process.


class _ReportingServer(Server):
    """Tells the supervisor that its start-up has succeeded."""

    def __init__(self, config: uvicorn.Config, reporting: Connection) -> None:
        super().__init__(config)
        self._reporting = reporting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._reporting.send(self.started)
        self._reporting.close()


def _run(config: uvicorn.Config, sockets: list[socket.socket], reporting: Connection) -> None:
    """What a worker process does."""
    # Before the server handles SIGINT, only the supervisor reacts to Ctrl-C: it sends SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_stop_with_supervisor, daemon=True).start()
    config.configure_logging()
    config.load()
    collect_less_often()
    _ReportingServer(config, reporting).run(sockets)


def _stop_with_supervisor() -> None:
    supervisor = multiprocessing.parent_process()
    assert supervisor is not None
    supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)


# Signals.


@contextmanager
def _signals() -> Iterator[Connection]:
    """A pipe that receives one byte for each signal, and so ends the wait for workers."""
    receiving, sending = _spawn.Pipe(duplex=False)
    numbers = [one for one in (*_STOPPING, _RESTART) if one is not None]

    def handle(number: int, frame: object) -> None:
        sending.send_bytes(bytes((number,)))

    before = [(one, signal.signal(one, handle)) for one in numbers]
    try:
        yield receiving
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        receiving.close()
        sending.close()


def _read_signals(receiving: Connection) -> Iterator[int]:
    while receiving.poll():
        yield from receiving.recv_bytes()


@contextmanager
def _interrupt_blocked() -> Iterator[None]:
    """A process started here inherits a blocked SIGINT: Ctrl-C must not interrupt its imports."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # multiprocessing starts it with the first process, and then unblocks SIGINT itself.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
