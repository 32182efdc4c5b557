"""The CPU time and memory of a server process, as the operating system counts them."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

# Linux keeps a CPU clock per process, readable from outside: clock_getcpuclockid(3).
_CPU_CLOCK_OF_PROCESS = 2


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, of all its threads, in seconds."""
    return time.clock_gettime(((~pid) << 3) | _CPU_CLOCK_OF_PROCESS)


def unique_bytes(pid: int) -> int:
    """Memory that the end of the process would free: its private pages, in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    private = [line.split() for line in lines if line.startswith("Private_")]
    return sum(int(kilobytes) for _, kilobytes, _ in private) * 1024


def pin(pid: int, *cores: int) -> None:
    """Pin a process to these cores; to one, so that load and server do not share it."""
    os.sched_setaffinity(pid, cores)


@contextlib.contextmanager
def unpinned(cores: Sequence[int]) -> Iterator[None]:
    """Let this process use these cores inside, and the last of them afterwards."""
    pin(0, *cores)
    try:
        yield
    finally:
        pin(0, cores[-1])


def cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def allow_open_files(wanted: int) -> int:
    """Raise the limit of open files, at most to `wanted`; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


class Meter:
    """Measures the CPU time of one process from now on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began = cpu_seconds(pid)

    def microseconds(self, count: int) -> float:
        """Microseconds of CPU since the meter was made, divided by `count`."""
        return (cpu_seconds(self._pid) - self._began) * 1e6 / count
