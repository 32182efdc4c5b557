"""A test that hangs for good is named as failed, shows where it hangs, and stops no other test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from results import counted

from tests.processes import ROOT, is_running, wait_until

CONFTEST = """
from tests.watchdog import Watchdog

def pytest_configure(config):
    config.pluginmanager.register(Watchdog(grace=1.0))
"""
TESTS = """
import asyncio, pathlib, pytest, subprocess, time
pytestmark = pytest.mark.anyio

async def never_rings():
    await asyncio.Event().wait()

def never_returns():
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass

@pytest.fixture
async def server():
    child = subprocess.Popen(["sleep", "600"])
    pathlib.Path("child").write_text(str(child.pid))
    yield
    await never_rings()

{case}

def test_another():
    pass
"""
FAILS = "async def test_hangs(server): assert False"
WAITS = "async def test_hangs(server): await never_rings()"
CATCHES = "async def test_hangs(server): never_returns()"


def run(folder: Path, case: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_all.py").write_text(TESTS.format(case=case))
    quiet = ["-q", "-c", "/dev/null", f"--rootdir={folder}", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *quiet, "--timeout=1", "--junitxml=report.xml", *options],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50,
    )


@pytest.mark.parametrize(
    ("case", "where"),
    [(FAILS, "never_rings"), (CATCHES, "never_returns")],
    ids=["in the teardown of a failed test", "in a test that catches its timeout"],
)
def test_a_test_that_hangs_is_named_and_the_others_run(
    case: str, where: str, tmp_path: Path
) -> None:
    done = run(tmp_path, case, "-n", "1")
    assert done.returncode == 1, done.stdout
    assert "test_all.py::test_hangs[asyncio] has not ended after 2 s" in done.stdout
    assert f"in {where}" in done.stdout
    found = counted(tmp_path / "report.xml")
    assert found.passed == 1 and len(found.failures) == 1
    assert found.failures[0].endswith("::test_hangs[asyncio]")
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: not is_running(child))


def test_without_other_processes_the_run_ends_and_names_the_test(tmp_path: Path) -> None:
    done = run(tmp_path, WAITS)
    assert done.returncode == 1
    assert "test_all.py::test_hangs[asyncio] has not ended after 2 s" in done.stdout
