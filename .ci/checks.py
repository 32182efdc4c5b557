"""The commands of the checks: ruff, mypy, pytest, and the JavaScript tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from shell import ROOT, Unavailable

Command = list[str | Path]
TYPED = ("agentws", "tests", "examples", ".ci")


def static(python: Path, versions: Sequence[str]) -> dict[str, Command]:
    """Style once, Python types for each of the versions, and the JavaScript's format and types."""
    commands: dict[str, Command] = {
        "ruff check": [python, "-m", "ruff", "check", "."],
        "ruff format": [python, "-m", "ruff", "format", "--check", "."],
    }
    for version in versions:
        typing = ["--strict", "--python-version", version, *TYPED]
        commands[f"mypy for Python {version}"] = [python, "-m", "mypy", *typing]
    for name, check in {"prettier": "format", "tsc": "types"}.items():
        commands[name] = [python, ROOT / ".ci" / "javascript.py", check]
    return commands


def beside(processes: int) -> list[str]:
    """Options to run the suite in several processes, one file at a time in each.

    In the order of the files: the longest one is not among the last.
    """
    return ["-n", str(processes), "--dist", "loadfile", "--no-loadscope-reorder"]


def pytest(python: Path, arguments: Sequence[str], report: Path | None = None) -> Command:
    """``report`` is for a run that may be one of several at the same time, without a terminal.

    It uses no cache, as the runs would share it. It dumps the stack of a test that keeps the lock
    of the interpreter: nothing in Python can end that one, neither its timeout nor tests/watchdog.
    """
    options = ["-p", "no:cacheprovider", "-o", "faulthandler_timeout=300", f"--junitxml={report}"]
    return [python, "-m", "pytest", *(options if report else []), *arguments]


def javascript(env: Mapping[str, str], report: Path | None = None) -> Command:
    """Raises Unavailable if there is no Node or there are no tests."""
    tests = sorted((ROOT / "tests" / "web").rglob("*.test.*js"))
    if not tests or "AGENTWS_NODE" not in env:
        raise Unavailable("the JavaScript tests can't run: no " + ("Node" if tests else "tests"))
    command: Command = [env["AGENTWS_NODE"], "--test", "--test-timeout=60000"]
    if report:
        command += ["--test-reporter=spec", "--test-reporter-destination=stdout"]
        command += ["--test-reporter=junit", f"--test-reporter-destination={report}"]
    return [*command, *tests]
