"""A topic as a log in the store: no session, posted to once, trimmed, on every store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentws import LocalBus, MemoryStore, SQLiteStore
from agentws.errors import BadRequest, EventTooLarge, IdempotencyConflict, NotFound, Unavailable
from agentws.limits import Limits
from agentws.protocol.events import NoticePosted
from agentws.protocol.topics import topic_log
from agentws.sessions.topics import TRIM_BATCH, Topics
from agentws.store import Store
from agentws.testing.connect import connect
from agentws.testing.faults import FaultyStore
from agentws.transports.subscriptions import start_of
from tests.http.calling import client, say

from .stage import ADMIN, nodes

LOG = topic_log("orders")


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    one: Store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "db")
    await one.open()
    yield one
    await one.close()


def topics(store: Store, limits: Limits | None = None, *, now: float | None = None) -> Topics:
    clock = time.time if now is None else lambda: now
    return Topics(store=store, bus=LocalBus(), limits=limits or Limits(), clock=clock)


def notice(content: str, *, at: float = 0.0) -> NoticePosted:
    return NoticePosted(content, "info", timestamp=round(at * 1000))


async def kept(store: Store) -> list[int]:
    return [record.seq for record in await store.read(LOG)]


async def test_a_topic_is_never_recovered_listed_or_deleted_as_a_session(store: Store) -> None:
    used = topics(store)
    await used.post("orders", notice("one"), key=None)
    await used.post("orders", notice("two"), key=None)
    assert LOG not in await store.unsettled(limit=1000)
    assert LOG not in [info.id for info in await store.stale(retention=1e-9, limit=1000)]
    assert (await store.info(LOG)).owner is None
    assert await store.sessions(owner="") == []


async def test_a_post_with_a_key_is_made_once(store: Store) -> None:
    used, other = topics(store), topics(store)
    first = await used.post("orders", notice("one", at=1.0), key="k1")
    again = await other.post("orders", notice("one", at=2.0), key="k1")
    assert again.duplicate and again.position == first.position
    with pytest.raises(IdempotencyConflict):
        await other.post("orders", notice("other"), key="k1")
    assert (await used.post("news", notice("one"), key="k1")).duplicate is False
    assert await kept(store) == [1]


async def test_a_post_whose_acknowledgement_was_lost_is_made_once() -> None:
    store = FaultyStore(MemoryStore(), fail_on="append", after=True)
    used = topics(store)
    with pytest.raises(Unavailable):
        await used.post("orders", notice("one"), key="k1")
    assert (await used.post("orders", notice("one"), key="k1")).duplicate
    assert await kept(store) == [1]


async def test_a_post_that_is_in_the_store_has_not_failed_if_reading_it_back_fails() -> None:
    store = FaultyStore(MemoryStore())
    used = topics(store)
    await used.open("orders")
    store.fail("read", times=1)
    await used.post("orders", notice("one"), key=None)
    assert await kept(store) == [1]


async def test_concurrent_first_uses_make_one_topic(store: Store) -> None:
    one, other = topics(store), topics(store)
    logs = await asyncio.gather(*(each.open("orders") for each in (one, other) * 5))
    assert len({log.head.epoch for log in logs}) == 1
    assert len({id(log) for log in logs}) == 2


async def test_the_newest_posts_are_kept(store: Store) -> None:
    used = topics(store, Limits(topic_posts=10, topic_retention=None))
    for number in range(1, 41):
        await used.post("orders", notice(f"{number}"), key=None)
    assert await kept(store) == list(range(31, 41))
    assert (await used.post("orders", notice("41"), key=None)).position.seq == 41


async def test_posts_that_are_too_old_are_removed_but_never_the_newest(store: Store) -> None:
    used = topics(store, Limits(topic_retention=100.0), now=1000.0)
    for at in (0.0, 500.0, 899.0, 901.0, 950.0):
        await used.post("orders", notice("x", at=at), key=None)
    await used.work()
    assert await kept(store) == [4, 5]
    later = topics(store, Limits(topic_retention=100.0), now=5000.0)
    await later.open("orders")
    await later.work()
    assert await kept(store) == [5]


@pytest.mark.parametrize(("seq", "reason"), [(0, "trimmed"), (2, "trimmed"), (4, None), (5, None)])
async def test_a_reader_whose_place_was_trimmed_is_told_so(
    store: Store, seq: int, reason: str | None
) -> None:
    used = topics(store, Limits(topic_posts=2, topic_retention=None))
    log = await used.open("orders")
    positions = [log.head]
    for number in range(5):
        positions.append((await used.post("orders", notice(f"{number}"), key=None)).position)
    fresh = await topics(store).open("orders")
    start = await start_of(fresh, str(positions[seq]))
    assert start.reason == reason
    assert start.position == (positions[seq] if reason is None else positions[0])


async def test_a_position_before_the_first_post_is_good_while_nothing_was_trimmed(
    store: Store,
) -> None:
    used = topics(store)
    empty = (await used.open("orders")).head
    assert (await start_of(await used.open("orders"), str(empty))).resume == "replay"
    await used.post("orders", notice("one"), key=None)
    assert (await start_of(await topics(store).open("orders"), str(empty))).resume == "replay"


async def test_a_topic_that_nobody_uses_leaves_the_memory() -> None:
    used = topics(MemoryStore(), Limits(session_idle=0.0))
    await used.post("orders", notice("one"), key=None)
    assert len(used) == 1
    await used.work()
    assert len(used) == 0


async def test_many_topics_are_trimmed_over_several_rounds() -> None:
    store = FaultyStore(MemoryStore())
    used = topics(store, Limits(topic_retention=100.0), now=1000.0)
    for number in range(TRIM_BATCH + 5):
        for at in (0.0, 1000.0):
            await used.post(f"t{number}", notice("x", at=at), key=None)
    for trimmed in (TRIM_BATCH, TRIM_BATCH + 5, TRIM_BATCH + 5):
        await used.work()
        assert store.calls["compact"] == trimmed


async def test_housekeeping_without_topics_asks_the_store_nothing() -> None:
    store = FaultyStore(MemoryStore())
    await topics(store).work()
    assert not store.calls


async def test_clients_and_hosts_can_not_open_a_topic_as_a_session() -> None:
    async with nodes() as [gateway], client(gateway) as http:
        await gateway.topic("orders").post("one")
        async with connect(gateway, f"/ws/chat?session={LOG}") as websocket:
            assert (await websocket.wait_closed()).code == 4400
        for path in ("", "/messages", "/events", "/export", "/state"):
            assert (await http.get(f"/sessions/{LOG}{path}")).status_code == 403
        assert (await http.delete(f"/sessions/{LOG}")).status_code == 403
        assert (await say(http, "x", session=LOG)).status_code == 400
        push = await http.post(f"/sessions/{LOG}/push", json={"content": "x"}, headers=ADMIN)
        assert push.status_code == 400
        with pytest.raises(NotFound):
            await gateway.session(LOG).push("x")
        assert gateway.stats()["sessions_in_memory"] == 0


async def test_what_can_not_be_posted_is_refused() -> None:
    async with nodes() as [gateway]:
        orders = gateway.topic("orders")
        with pytest.raises(BadRequest):
            gateway.topic("no name")
        with pytest.raises(EventTooLarge):
            await orders.post("x" * gateway.limits.max_event_size)
        with pytest.raises(TypeError):
            await orders.post(b"bytes")  # type: ignore[arg-type]
        for key in ("", "x" * 129, "a\0"):
            with pytest.raises(BadRequest):
                await orders.post("x", key=key)
        assert await orders.notify("nobody is here") == 0


async def test_a_frame_of_the_largest_post_is_not_larger_than_an_event_may_be() -> None:
    name = "n" * 100
    async with nodes() as [gateway], connect(gateway) as websocket:
        await websocket.subscribe(name)
        size, most = 256 * 1024 - 400, 0
        while True:
            try:
                await gateway.topic(name).post("x" * size)
            except EventTooLarge:
                break
            frame = await websocket.until("notice.posted")
            most, size = size, size + 20
        assert most and len(str(frame).encode()) <= gateway.limits.max_event_size + 200
