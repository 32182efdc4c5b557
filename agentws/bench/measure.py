"""The CPU time and memory of a server process, as the operating system counts them."""

from __future__ import annotations

import os
import resource
import time
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


def pin(pid: int, core: int) -> None:
    """Pin a process to one core, so that load and server do not share one."""
    os.sched_setaffinity(pid, {core})


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
