"""Runs the parts of ./dev ci, some at a time; counts passed tests; prints a summary."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

from shell import ROOT, WINDOWS, Unavailable

PART_LIMIT = 30 * 60.0
"""Seconds for one part. A hanging test is ended by tests/watchdog; this is for what else hangs."""
_POLL = 0.2
_printing = threading.Lock()
_stopping = threading.Event()


@dataclasses.dataclass
class Result:
    """The result of a part. A failure is the name of a test, or a sentence."""

    passed: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: Result) -> None:
        self.passed += other.passed
        self.failures += other.failures


class Log:
    """Runs the commands of one part and writes their output to ``file``."""

    def __init__(self, file: IO[bytes], limit: float = PART_LIMIT) -> None:
        self._file = file
        self._limit = limit
        self._end = time.monotonic() + limit

    def run(
        self, command: Sequence[str | Path], env: Mapping[str, str] | None = None
    ) -> str | None:
        """Returns what went wrong, or None. Kills the command at the part's time limit."""
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            # A process group of its own, so that servers of a hanging test are killed too.
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                if _stopping.is_set() or time.monotonic() > self._end:
                    return f"did not end within {self._limit:.0f} s"
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL)
        finally:
            _kill(process)
        return f"ended with status {process.returncode}" if process.returncode else None


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            process.kill() if WINDOWS else os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def whole(log: Log, name: str, command: Sequence[str | Path]) -> Result:
    """A command that passes or fails as a whole."""
    wrong = log.run(command)
    return Result(failures=[f"{name} {wrong}"]) if wrong else Result(passed=1)


def by_test(
    log: Log,
    name: str,
    command: Callable[[Path], Sequence[str | Path]],
    env: Mapping[str, str],
) -> Result:
    """Runs a command that writes a JUnit report into a given file; counts its tests."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        try:
            wrong = log.run(command(report), env)
        except Unavailable as error:
            return Result(failures=[str(error)])
        result = counted(report)
    if wrong and not result.failures:
        result.failures.append(f"{name} {wrong}")
    return result


def counted(report: Path) -> Result:
    """The passed and failed tests of a JUnit report; none if it can't be read."""
    result = Result()
    with suppress(OSError, ElementTree.ParseError):
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                result.failures.append(f"{case.get('classname')}::{case.get('name')}")
            elif case.find("skipped") is None:
                result.passed += 1
    return result


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of the check. If ``run`` raises, that is a failure of this part."""

    name: str
    run: Callable[[Log], Result]


def run_parts(parts: Sequence[Part], *, at_once: int = 1) -> dict[str, Result]:
    """Runs them in order, ``at_once`` at a time. The output of a part is shown when it ends."""
    with ThreadPoolExecutor(at_once) as pool:
        try:
            results = list(pool.map(_run, parts))
        except BaseException:
            _stopping.set()
            raise
    return dict(zip((part.name for part in parts), results, strict=True))


def _run(part: Part) -> Result:
    _print(f"=== {part.name}: started")
    with tempfile.TemporaryFile() as file:
        result = _timed(part, Log(file))
        file.seek(0)
        printed = file.read().decode(errors="replace").rstrip()
    _print(f"\n=== {part.name}\n{printed}\n=== {_line(part.name, result)}\n")
    return result


def _timed(part: Part, log: Log) -> Result:
    started = time.monotonic()
    try:
        result = part.run(log)
    except Exception as error:  # The other parts still run.
        expected = isinstance(error, Unavailable)
        result = Result(failures=[str(error) if expected else repr(error)])
    result.seconds = time.monotonic() - started
    return result


def _print(text: str) -> None:
    with _printing:
        print(text, flush=True)


def _line(name: str, result: Result) -> str:
    minutes, seconds = divmod(round(result.seconds), 60)
    failed = len(result.failures)
    return f"{name}: {result.passed} passed, {failed} failed in {minutes}:{seconds:02}"


def summary(results: Mapping[str, Result]) -> int:
    """Prints the failures, a line per part, and the totals; returns the exit status."""
    _print("\n=== summary")
    for name, result in results.items():
        for failure in result.failures:
            _print(f"FAILED {failure} [{name}]")
    for name, result in results.items():
        _print(_line(name, result))
    passed = sum(result.passed for result in results.values())
    failed = sum(len(result.failures) for result in results.values())
    _print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0
