"""A Python of another version is found on PATH, in pyenv or by uv; else the error says why."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import matrix
import pytest
import pythons
from results import Part, run_parts
from shell import Unavailable


def fake(path: Path, says: str, *, status: int = 0) -> Path:
    """A program that always prints this line and ends with this status."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any Python, and with a uv that finds none."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'first'}:{tmp_path / 'second'}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    fake(tmp_path / "second/uv", "", status=2)
    return tmp_path


def test_a_broken_shim_on_path_is_skipped(machine: Path) -> None:
    fake(machine / "first/python3.99", "pyenv: python3.99: command not found", status=127)
    works = fake(machine / "second/python3.99", "3.99")
    assert pythons.find("3.99") == works


def test_an_interpreter_that_reports_another_version_is_not_used(machine: Path) -> None:
    fake(machine / "first/python3.99", "3.98")
    with pytest.raises(Unavailable):
        pythons.find("3.99")


@pytest.mark.parametrize("place", ["pyenv", "home/.pyenv"])
def test_the_newest_pyenv_release_is_used(machine: Path, place: str) -> None:
    versions = machine / place / "versions"
    for name in ("3.99.2", "3.99.10", "3.99.11t", "3.99-dev", "3.9.20"):
        fake(versions / name / "bin/python", "3.99")
    assert pythons.find("3.99") == versions / "3.99.10/bin/python"


def test_uv_is_the_last_place_searched(machine: Path) -> None:
    of_uv = fake(machine / "of uv/python", "3.99")
    fake(machine / "second/uv", str(of_uv))
    assert pythons.find("3.99") == of_uv
    on_path = fake(machine / "first/python3.99", "3.99")
    assert pythons.find("3.99") == on_path


def test_the_running_python_is_used_without_a_search() -> None:
    assert pythons.find(pythons.current()) == Path(sys.executable)


def test_the_error_for_a_missing_python_lists_the_places_searched(machine: Path) -> None:
    with pytest.raises(Unavailable) as refused:
        pythons.find("3.99")
    said = str(refused.value)
    assert "Python 3.99 was not found" in said
    assert f"3.99.* in {machine}/pyenv/versions" in said
    assert f"3.99.* in {machine}/home/.pyenv/versions" in said
    assert "python3.99 on PATH" in said and "uv" in said


def test_a_missing_supported_python_fails_its_part_of_the_check() -> None:
    suite = matrix.Suite(version="3.99")
    found = run_parts([Part(suite.name, partial(suite.run, tools={}))])["Python 3.99"]
    assert found.passed == 0
    (failure,) = found.failures
    assert failure.startswith("Python 3.99 was not found")


@pytest.mark.parametrize("version", ["3.10", "3.9", "2.7"])
def test_a_python_older_than_supported_is_refused(machine: Path, version: str) -> None:
    fake(machine / f"first/python{version}", version)
    with pytest.raises(Unavailable, match=f"needs Python 3.11 or newer, not {version}"):
        pythons.find(version)


@pytest.mark.parametrize("version", ["3", "3.12.1", "python3.12", "", "3.x", "../3.12"])
def test_an_invalid_version_is_refused(version: str) -> None:
    with pytest.raises(Unavailable, match="such as 3.12"):
        pythons.find(version)
