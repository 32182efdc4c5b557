"""./dev ci runs every part, counts every test, and prints the totals in its last line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import results
from results import Log, Part, Result, by_test, run_parts, summary, whole
from shell import Unavailable

from tests.processes import is_running, wait_until

PASSES = [sys.executable, "-c", "print('well')"]
FAILS = [sys.executable, "-c", "print('ill'); raise SystemExit(3)"]
TESTS = """
import pytest
def test_passes(): pass
def test_fails(): assert False
@pytest.fixture
def broken(): raise OSError
def test_errs(broken): pass
@pytest.mark.skip
def test_is_skipped(): pass
"""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with (tmp_path / "log").open("wb") as file:
        yield Log(file)


def refuse(log: Log) -> Result:
    raise Unavailable("Python 3.99 was not found")


def break_down(log: Log) -> Result:
    raise OSError("no space")


@pytest.mark.parametrize("at_once", [1, 2])
def test_all_parts_run_even_if_others_fail(at_once: int, capfd: pytest.CaptureFixture[str]) -> None:
    parts = [
        Part("first", lambda log: whole(log, "a check", FAILS)),
        Part("second", refuse),
        Part("third", break_down),
        Part("fourth", lambda log: whole(log, "a check", PASSES)),
    ]
    found = run_parts(parts, at_once=at_once)
    assert summary(found) == 1
    said = capfd.readouterr().out.splitlines()
    assert "ill" in said and "well" in said
    assert "FAILED a check ended with status 3 [first]" in said
    assert "FAILED Python 3.99 was not found [second]" in said
    assert "FAILED OSError('no space') [third]" in said
    assert said[-1] == "1 passed, 3 failed"


def test_the_output_of_concurrent_parts_is_not_interleaved(
    capfd: pytest.CaptureFixture[str],
) -> None:
    slow = [sys.executable, "-uc", "import time\nfor _ in range(3): print('x'); time.sleep(0.05)"]
    parts = [Part(name, lambda log: whole(log, "a check", slow)) for name in ("first", "second")]
    run_parts(parts, at_once=2)
    said = capfd.readouterr().out
    assert said.count("x\nx\nx\n") == 2


def test_every_test_in_a_junit_report_is_counted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test_all.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, f"--rootdir={tmp_path}"]

    def run(log: Log) -> Result:
        return by_test(
            log, "pytest", lambda report: [*command, tmp_path, f"--junitxml={report}"], os.environ
        )

    found = run_parts([Part("suite", run)])["suite"]
    capfd.readouterr()
    assert found.passed == 1
    assert found.failures == ["test_all::test_fails", "test_all::test_errs"]


@pytest.mark.parametrize("report", ["", "<testsuites/>", "<testsuite", "not a report"])
def test_a_command_that_fails_without_a_failed_test_is_a_failure(report: str, log: Log) -> None:
    script = "import sys; open(sys.argv[1], 'w').write(sys.argv[2]); sys.exit(4)"
    found = by_test(
        log, "pytest", lambda path: [sys.executable, "-c", script, path, report], os.environ
    )
    assert (found.passed, found.failures) == (0, ["pytest ended with status 4"])


def test_tests_that_can_not_run_count_as_one_failure(log: Log) -> None:
    def command(report: Path) -> list[str]:
        raise Unavailable("no Node")

    assert by_test(log, "node --test", command, os.environ).failures == ["no Node"]


def test_a_hanging_command_is_killed_with_its_children(tmp_path: Path) -> None:
    child_id = tmp_path / "child"
    with (tmp_path / "log").open("wb") as file:
        log = Log(file, 3.0)
        command = ["sh", "-c", f"sleep 600 & echo $! > '{child_id}'; wait"]
        found = whole(log, "a check", command)
    assert found.failures == ["a check did not end within 3 s"]
    wait_until(lambda: not is_running(int(child_id.read_text())))


def test_a_run_without_any_passed_test_fails(capfd: pytest.CaptureFixture[str]) -> None:
    assert summary({"nothing": Result()}) == 1
    assert results.summary({"all": Result(passed=3)}) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "3 passed, 0 failed"
