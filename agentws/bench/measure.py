"""What a server process costs, from the operating system's own accounting."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

# Linux keeps a CPU clock per process, readable from outside: clock_getcpuclockid(3).
_CPU_CLOCK_OF_PROCESS = 2


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used so far, all its threads together."""
    return time.clock_gettime(((~pid) << 3) | _CPU_CLOCK_OF_PROCESS)


def unique_bytes(pid: int) -> int:
    """Memory that would be freed if the process ended: its private pages."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    private = [line.split() for line in lines if line.startswith("Private_")]
    return sum(int(kilobytes) for _, kilobytes, _ in private) * 1024


def pin(pid: int, core: int) -> None:
    """Keep a process on one core, so that load and server don't take turns on one."""
    os.sched_setaffinity(pid, {core})


def cores() -> list[int]:
    """The cores this process may use."""
    return sorted(os.sched_getaffinity(0))


def allow_open_files(wanted: int) -> int:
    """Raise the limit of open files as far as allowed, at most to `wanted`; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


class Meter:
    """CPU time of one process between two moments."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began = cpu_seconds(pid)

    def microseconds(self, count: int) -> float:
        """Microseconds of CPU since the meter was made, per `count`."""
        return (cpu_seconds(self._pid) - self._began) * 1e6 / count
