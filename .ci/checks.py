"""The commands that check a change, for whoever runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from shell import ROOT, Unavailable

Command = list[str | Path]
TYPED = ("agentws", "tests", "examples", ".ci")


def static(python: Path, versions: Sequence[str]) -> dict[str, Command]:
    """Style once; types as each of the versions sees them; then the JavaScript."""
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


def pytest(python: Path, arguments: Sequence[str], report: Path | None = None) -> Command:
    """With a report it is one of several, perhaps at once, in nobody's sight.

    So there is no cache, which they would share, and a test that its timeout can't end (the error
    is caught where it is raised, in a callback of the loop) shows where it is.
    """
    unseen = ["-p", "no:cacheprovider", "-o", "faulthandler_timeout=300", f"--junitxml={report}"]
    return [python, "-m", "pytest", *(unseen if report else []), *arguments]


def javascript(env: Mapping[str, str], report: Path | None = None) -> Command:
    """Raises Unavailable where there is no Node, which the tests can't do without."""
    tests = sorted((ROOT / "tests" / "web").rglob("*.test.*js"))
    if not tests or "AGENTWS_NODE" not in env:
        raise Unavailable("the JavaScript tests can't run: no " + ("Node" if tests else "tests"))
    command: Command = [env["AGENTWS_NODE"], "--test", "--test-timeout=60000"]
    if report:
        command += ["--test-reporter=spec", "--test-reporter-destination=stdout"]
        command += ["--test-reporter=junit", f"--test-reporter-destination={report}"]
    return [*command, *tests]
