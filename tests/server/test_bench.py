"""The benchmark at its smallest: every workload against every server, and a whole report."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest

from agentws import bench
from agentws.bench import measure, report, workloads
from agentws.bench.words import PRESET, RAW, STOCK

TINY = workloads.Scale(
    idle=8,
    turns=50,
    runs=4,
    seconds=1,
    burst=50,
    followers=20,
    broadcasts=2,
    returning=4,
    messages=20,
    sessions=4,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "QUICK", TINY)
    # The test process is nobody's load generator: it stays where it is.
    monkeypatch.setattr(measure, "pin", lambda pid, core: None)
    monkeypatch.setattr(workloads, "SETTLE", 0.0)
    monkeypatch.setattr(workloads, "IDLE_SECONDS", 0.0)


@pytest.mark.parametrize("workload", workloads.WORKLOADS, ids=lambda each: each.name)
def test_a_workload_on_every_server(workload: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--quick", "--repeats", "1", "--only", workload.name]) == 0
    output = capfd.readouterr().out
    result = msgspec.json.decode(output.splitlines()[-1])["workloads"][0]
    assert result["name"] == workload.name
    compared = {RAW.name, STOCK.name, PRESET.name} if workload.against_raw else {"stock", "preset"}
    assert set(result["figures"]) == compared
    assert workload.title in output


def test_the_ratio_is_of_medians() -> None:
    row = report.Row(
        workloads.WORKLOADS[0],
        {RAW.name: [1.0, 2.0, 9.0], STOCK.name: [3.0, 5.0, 4.0], PRESET.name: [1.0]},
    )
    assert row.ratio(STOCK.name) == 2.0
    assert row.spread(STOCK.name) == 0.25
    lines = report.table([row]).splitlines()
    assert "2.00 (<= 1 OVER) ±25%" in lines[2] and "0.50 (<= 0.6 ok) ±0%" in lines[2]


def test_the_meter_counts_the_cpu_of_another_process() -> None:
    burn = """if True:
        import time
        while time.process_time() < 0.2: pass
        print(time.process_time(), flush=True)
        input()"""
    arguments = [sys.executable, "-c", burn]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        reported = float(process.stdout.readline())
        used = measure.cpu_seconds(process.pid)
        process.communicate(b"\n")
    assert reported <= used < reported + 0.1
