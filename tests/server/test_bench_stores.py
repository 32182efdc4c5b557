"""The benchmark of the stores with tiny loads, and its table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agentws import bench
from agentws.backends.memory import MemoryStore
from agentws.bench.servers.store_calls import StoreCalls
from agentws.bench.stores.database_servers import Programs, database_servers
from agentws.bench.stores.report import Figure, Result, store_table
from agentws.bench.stores.trials import TRIALS, Trial
from agentws.errors import NotFound
from tests.server.tiny import make_tiny


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny(monkeypatch)


def measured(output: str) -> dict[str, Any]:
    """The line of JSON."""
    found: dict[str, Any] = msgspec.json.decode(output.splitlines()[-1])
    return found


@pytest.mark.parametrize("trial", TRIALS, ids=lambda each: each.name)
def test_every_trial_measures_the_stores_of_one_host(
    trial: Trial, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--quick", "--only", trial.name, "--stores", "memory", "sqlite"]
    assert bench.main(arguments) == 0
    output = capfd.readouterr().out
    rows = measured(output)["stores"]
    assert [row["title"] for row in rows] == [figure.title for figure in trial.figures]
    for row in rows:
        assert set(row["figures"]) == {"memory", "sqlite"} & set(trial.stores)
        assert row["title"] in output


def test_the_benchmark_starts_the_servers_of_redis_and_postgres(
    capfd: pytest.CaptureFixture[str],
) -> None:
    environment = os.environ.get
    programs = Programs(
        redis=environment("AGENTWS_REDIS_SERVER"), postgres=environment("AGENTWS_POSTGRES")
    )
    arguments = ["--quick", "--only", "across", "--stores", "redis", "postgres"]
    assert bench.main(arguments, programs=programs) == 0
    found = measured(capfd.readouterr().out)
    assert found["notes"] == []
    assert all(set(row["figures"]) == {"redis", "postgres"} for row in found["stores"])


@pytest.mark.parametrize(
    ("programs", "expected"),
    [
        (Programs(), "redis-server is not on PATH; --redis-server PROGRAM names it"),
        (Programs(redis="/nowhere/redis-server"), "No such file"),
        (Programs(redis="/bin/true"), "the server did not start: without output"),
    ],
)
def test_a_store_whose_server_is_not_there_is_left_out_with_a_note(
    programs: Programs, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with database_servers(["memory", "redis"], programs) as (addresses, notes):
        assert addresses == {"memory": "memory"}
    [note] = notes
    assert note.startswith("redis is not measured: ") and expected in note


def test_a_folder_without_programs_is_named_in_the_note(tmp_path: Path) -> None:
    with database_servers(["postgres"], Programs(postgres=str(tmp_path))) as (addresses, notes):
        assert not addresses
    assert notes == [f"postgres is not measured: there is no program {tmp_path}/initdb"]


def test_a_target_against_memory_is_one_of_the_ratio_of_medians() -> None:
    figure = Figure("a delta", "µs", {"sqlite": 1.5, "redis": 1.5}, against_memory=True)
    values = {"memory": [9.0, 10.0, 12.0], "sqlite": [15.0, 14.0, 16.0], "redis": [16.0]}
    result = Result("deltas", figure, values)
    assert (result.compared("sqlite"), result.compared("redis")) == (1.5, 1.6)
    line = store_table([result]).splitlines()[2]
    assert "15.00 µs, 1.50 (<= 1.5 ok) 14.00..16.00" in line
    assert "16.00 µs, 1.60 (<= 1.5 OVER)" in line


def test_a_target_may_be_the_least() -> None:
    figure = Figure("workers", "×", {"sqlite": 1.8}, at_least=True)
    assert "1.79 × (>= 1.8 OVER)" in store_table([Result("workers", figure, {"sqlite": [1.79]})])
    assert "1.80 × (>= 1.8 ok)" in store_table([Result("workers", figure, {"sqlite": [1.8]})])


def test_a_ratio_to_memory_is_left_out_where_memory_was_not_measured() -> None:
    figure = Figure("a delta", "µs", {"sqlite": 1.5}, against_memory=True)
    lines = store_table([Result("deltas", figure, {"sqlite": [15.0]})]).splitlines()
    assert lines[2].endswith("15.00 µs")


async def test_the_calls_of_a_store_are_counted_until_they_are_taken() -> None:
    store, calls = MemoryStore(), StoreCalls()
    calls.count(store)
    assert calls.take() == {"all": 0, "most": 0}
    await store.ping()
    with pytest.raises(NotFound):
        await store.head("ses_missing")
    taken = calls.take()
    assert taken["all"] == 2 and 1 <= taken["most"] <= 2
    assert calls.take() == {"all": 0, "most": 0}
