"""A short soak over every store, and the schedule of its faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.stores import STORES

from .rounds import soak
from .schedule import NODES, STORE, schedule


@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", STORES)
async def test_nothing_that_was_promised_is_lost_whatever_fails(store: str, tmp_path: Path) -> None:
    report = await soak(store, tmp_path, seed=7, seconds=0, round_seconds=7.0)
    assert report.rounds == 1 and report.lost == 0
    assert report.faults.total() >= 6 and report.acknowledged >= 10, report


def test_a_seed_replays_its_schedule() -> None:
    again = [schedule("1-0", 60, server=True) for _ in range(2)]
    assert again[0] == again[1] != schedule("1-1", 60, server=True)


@pytest.mark.parametrize("server", [True, False])
@pytest.mark.parametrize("seed", range(50))
def test_a_schedule_ends_its_faults_and_has_one_of_a_group_at_a_time(
    seed: int, server: bool
) -> None:
    episodes = schedule(str(seed), 30, server=server)
    assert episodes == sorted(episodes) and len(episodes) > 20
    assert all(0 < one.at < one.until <= 30 for one in episodes)
    assert {one.target for one in episodes} <= {*NODES, *([STORE] if server else [])}
    for at, one in enumerate(episodes):
        same = [two for two in episodes[:at] if (two.kind, two.target) == (one.kind, one.target)]
        assert all(two.until <= one.at for two in same)
