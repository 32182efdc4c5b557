"""Leases in SQLite expire by the clock of the host, which begins anew when that is started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentws.backends.sqlite import SQLiteStore
from agentws.errors import Fenced
from agentws.testing.contract_base import event, filled


class Clock:
    now = 100_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "sessions.db", monotonic=clock)
    await store.open()
    yield store
    await store.close()


@pytest.mark.parametrize("renewed", [False, True])
async def test_a_dead_nodes_lease_expires_although_the_host_was_restarted(
    store: SQLiteStore, clock: Clock, renewed: bool
) -> None:
    session, _ = await filled(store, 2)
    dead = await store.lease(session, owner="dead", ttl=30 if renewed else 10)
    assert dead is not None
    if renewed:
        clock.now += 5
        assert await store.renew("dead", [session], ttl=10) == [session]
    clock.now -= 3600
    assert await store.unsettled() == [session]
    lease = await store.lease(session, owner="next", ttl=10)
    assert lease is not None
    assert await store.unsettled() == []
    with pytest.raises(Fenced):
        await store.append(session, [event(3)], fence=dead.fence)
    await store.append(session, [event(3)], fence=lease.fence)


async def test_a_small_correction_of_the_clock_takes_no_lease(
    store: SQLiteStore, clock: Clock
) -> None:
    session, _ = await filled(store, 2)
    assert await store.lease(session, owner="holder", ttl=10) is not None
    clock.now -= 9
    assert await store.unsettled() == []
    assert await store.lease(session, owner="other", ttl=10) is None


@pytest.mark.parametrize("by", ["renew", "lease"])
async def test_a_holder_that_renews_keeps_its_lease_when_the_clock_began_anew(
    store: SQLiteStore, clock: Clock, by: str
) -> None:
    session, _ = await filled(store, 2)
    lease = await store.lease(session, owner="holder", ttl=10)
    assert lease is not None
    clock.now -= 3600
    if by == "renew":
        assert await store.renew("holder", [session], ttl=10) == [session]
    else:
        assert await store.lease(session, owner="holder", ttl=10) == lease
    assert await store.unsettled() == []
    assert await store.lease(session, owner="other", ttl=10) is None
    await store.append(session, [event(3)], fence=lease.fence)
    clock.now += 11
    assert await store.lease(session, owner="other", ttl=10) is not None


@pytest.mark.parametrize("step", [3600.0, -3600.0])
async def test_a_step_of_the_wall_clock_takes_no_lease(tmp_path: Path, step: float) -> None:
    wall = Clock()
    store = SQLiteStore(tmp_path / "sessions.db", clock=wall)
    await store.open()
    session, _ = await filled(store, 2)
    lease = await store.lease(session, owner="holder", ttl=60)
    assert lease is not None
    wall.now += step
    assert await store.unsettled() == []
    assert await store.lease(session, owner="other", ttl=60) is None
    assert await store.renew("holder", [session], ttl=60) == [session]
    renewer = store.lease_renewer()
    assert renewer.renew("holder", [session], ttl=60) == [session]
    renewer.close()
    assert await store.stale(retention=1.0) == []
    info = await store.info(session)
    assert not await store.delete(session, updated=info.updated)
    await store.append(session, [event(3)], fence=lease.fence)
    await store.close()
