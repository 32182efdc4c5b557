"""The benchmark with tiny loads: every workload against every server, and a whole report."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agentws import bench
from agentws.bench import json_line, resources, scale
from agentws.bench.overhead import memory, workloads
from agentws.bench.overhead.report import Row, overhead_table
from agentws.bench.servers import clients, process
from agentws.bench.servers.process import ServerProcess
from agentws.bench.servers.variants import PRESET, RAW, STOCK, VARIANTS
from tests.processes import is_running
from tests.server.tiny import TINY, make_tiny


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny(monkeypatch)


@pytest.mark.parametrize("workload", workloads.WORKLOADS, ids=lambda each: each.name)
def test_every_workload_runs_against_every_server(
    workload: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(["--quick", "--repeats", "1", "--only", workload.name]) == 0
    output = capfd.readouterr().out
    result = msgspec.json.decode(output.splitlines()[-1])["workloads"][0]
    assert result["name"] == workload.name
    compared = {RAW.name, STOCK.name, PRESET.name} if workload.against_raw else {"stock", "preset"}
    assert set(result["figures"]) == compared
    assert workload.title in output


def test_a_ratio_is_computed_from_medians() -> None:
    row = Row(
        workloads.WORKLOADS[0],
        {RAW.name: [1.0, 2.0, 9.0], STOCK.name: [3.0, 5.0, 4.0], PRESET.name: [1.0]},
    )
    assert row.ratio(STOCK.name) == 2.0
    assert row.spread(STOCK.name) == 0.25
    lines = overhead_table([row]).splitlines()
    assert "4.0 KiB, 2.00 (<= 1 OVER) ±25%" in lines[2]
    assert "1.0 KiB, 0.50 (<= 0.6 ok) ±0%" in lines[2]


def test_every_variant_has_a_column_and_its_medians() -> None:
    figures = {name: [float(number), number + 2.0] for number, name in enumerate(VARIANTS, 1)}
    row = Row(workloads.WORKLOADS[0], figures)
    header, _, line = overhead_table([row]).splitlines()
    assert "raw, server preset" in header
    for number, name in enumerate(VARIANTS, 1):
        assert f"{number + 1:.1f} KiB" in line
        shown = msgspec.json.decode(json_line.as_json([row], [], []))["workloads"][0]
        assert (shown["medians"][name], shown["spreads"][name]) == (
            number + 1,
            1 / (number + 1),
        )
    only = overhead_table([Row(workloads.WORKLOADS[0], {STOCK.name: [1.0]})])
    assert "preset" not in only and "raw" not in only


async def test_a_session_that_is_never_evicted_fails_the_measurement_of_evicted_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "EVICTION_SECONDS", 0.5)
    async with ServerProcess(STOCK, {"store": "sqlite"}, cores=(0,)) as server:
        with pytest.raises(TimeoutError):
            await memory.evicted_session(server, TINY)


def test_a_client_class_without_its_abstract_methods_can_not_be_instantiated() -> None:
    with pytest.raises(TypeError, match="abstract"):
        clients.Client()  # type: ignore[abstract]


def test_the_meter_counts_the_cpu_of_another_process() -> None:
    burn = """if True:
        import time
        while time.process_time() < 0.2: pass
        print(time.process_time(), flush=True)
        input()"""
    arguments = [sys.executable, "-c", burn]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as burning:
        assert burning.stdout is not None
        reported = float(burning.stdout.readline())
        used = resources.cpu_seconds(burning.pid)
        burning.communicate(b"\n")
    assert reported <= used < reported + 0.1


@pytest.mark.parametrize("limit", [101, 256, 1_024, 4_096, 1 << 20])
@pytest.mark.parametrize("given", [scale.FULL, scale.QUICK], ids=["full", "quick"])
def test_no_workload_opens_more_files_than_it_may(
    given: scale.Scale, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "allow_open_files", lambda wanted: min(wanted, limit))
    fitting, notes = bench._fit(given)
    connections = (fitting.idle + fitting.idle // 4, fitting.runs, fitting.followers)
    returning = (fitting.returning, fitting.returning_clients)
    opened = (*connections, *returning, fitting.draining)
    assert max(opened) + 100 <= max(limit, 101)
    assert min(fitting) > 0
    assert bool(notes) == (fitting != given)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory for temporary files of this process and those that it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def names(folder: Path) -> list[str]:
    """The names of everything in a folder."""
    return sorted(path.name for path in folder.rglob("*"))


async def test_a_server_leaves_no_process_and_no_files(scratch: Path) -> None:
    async with ServerProcess(STOCK, {"store": "sqlite"}, cores=(0,)) as server:
        assert "bench.sqlite3" in names(scratch)
    assert not is_running(server.pid)
    assert names(scratch) == []


async def test_a_server_without_files_gets_no_directory(scratch: Path) -> None:
    async with ServerProcess(STOCK, {}, cores=(0,)):
        assert names(scratch) == []


async def test_a_server_that_does_not_start_leaves_no_process_and_no_files(scratch: Path) -> None:
    server = ServerProcess(
        STOCK, {"store": "sqlite", "limits": {"gather": "no number"}}, cores=(0,)
    )
    with pytest.raises(RuntimeError, match="did not start"):
        async with server:
            pass
    assert not is_running(server.pid)
    assert names(scratch) == []


async def test_a_server_that_starts_too_slowly_leaves_no_process_and_no_files(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "START_SECONDS", 0.0)
    server = ServerProcess(STOCK, {"store": "sqlite"}, cores=(0,))
    with pytest.raises(TimeoutError):
        async with server:
            pass
    assert not is_running(server.pid)
    assert names(scratch) == []
