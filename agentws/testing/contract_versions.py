"""The store contract: appends with an expected version (optimistic concurrency control)."""

from __future__ import annotations

import asyncio

from ..errors import Fenced, IdempotencyConflict, VersionConflict
from ..store import Appended, Head, Key, Settled, Store
from .contract_base import EPOCH, StoreFixtures, begin, event, events, everything, filled
from .needs import pytest
from .oracle import check_tags


async def attempt(store: Store, session: str, name: object, expect: int) -> Appended | None:
    """An append with an expected version; ``None`` when it was refused."""
    try:
        return await store.append(session, [event(name)], expect=expect)
    except VersionConflict:
        return None


class VersionRules(StoreFixtures):
    """An append with ``expect`` is made at that end of the log, or not at all."""

    async def test_an_append_that_expects_the_end_of_the_log_is_made(self, store: Store) -> None:
        session = await begin(store)
        for end in range(4):
            done = await store.append(session, [event(end)], expect=end)
            assert done.position.seq == end + 1

    @pytest.mark.parametrize("expect", [0, 1, 2, 4, 1_000_000, -1])
    async def test_an_append_that_expects_another_end_changes_nothing(
        self, store: Store, expect: int
    ) -> None:
        session, records = await filled(store, 3)
        before = await store.head(session)
        with pytest.raises(VersionConflict):
            await store.append(
                session, events("late"), expect=expect, key=Key("k", "d"), settled=Settled(3, b"x")
            )
        assert await store.head(session) == before == Head(before.position, Settled())
        assert list(await store.read(session)) == records
        assert await store.find(session, Key("k", "d")) is None

    async def test_of_concurrent_appends_with_the_same_expected_version_exactly_one_is_made(
        self, store: Store, peer: Store
    ) -> None:
        session, _ = await filled(store, 2)
        for turn in range(10):
            done = await asyncio.gather(
                *(
                    attempt(store if n % 2 else peer, session, f"{turn}.{n}", turn + 2)
                    for n in range(8)
                )
            )
            assert len([one for one in done if one is not None]) == 1
        records = await everything(peer, session)
        assert len(records) == 12
        check_tags(records)

    async def test_writers_that_retry_after_a_conflict_all_succeed(
        self, store: Store, peer: Store
    ) -> None:
        """Each appends its expected number, so a decision on an old log would be seen."""
        session = await begin(store)

        async def count(through: Store) -> None:
            for _ in range(5):
                while True:
                    end = (await through.head(session)).position.seq
                    if await attempt(through, session, end + 1, end) is not None:
                        break

        await asyncio.gather(*(count(store if n % 2 else peer) for n in range(4)))
        found = [record.data for record in await everything(store, session)]
        assert found == events(*range(1, 21))

    async def test_events_that_commute_leave_an_expected_version_valid(
        self, store: Store, peer: Store
    ) -> None:
        session, _ = await filled(store, 2)
        await peer.append(session, events("text", "text"), commutes=True)
        await peer.append(session, events("text"), commutes=True)
        done = await store.append(session, events("decided on 2"), expect=2)
        assert done.position.seq == 6
        for expect in (2, 5):
            with pytest.raises(VersionConflict):
                await store.append(session, events("too late"), expect=expect)
        await store.append(session, events("text"), commutes=True, expect=6)
        assert (await store.append(session, events("on 6, too"), expect=6)).position.seq == 8

    async def test_an_append_without_events_leaves_an_expected_version_valid(
        self, store: Store
    ) -> None:
        session, _ = await filled(store, 2)
        await store.append(session, [], key=Key("claim", "d"))
        await store.append(session, [], settled=Settled(2))
        await store.append(session, [], expect=2)
        assert (await store.append(session, events("next"), expect=2)).position.seq == 3

    async def test_compaction_leaves_an_expected_version_valid(self, store: Store) -> None:
        session, records = await filled(store, 4)
        await store.compact(session, first=1, last=3, records=[records[2]])
        assert (await store.append(session, events("next"), expect=4)).position.seq == 5

    async def test_a_duplicate_is_reported_whatever_version_it_expects(self, store: Store) -> None:
        session, _ = await filled(store, 2)
        first = await store.append(session, events("once"), key=Key("k", "d"), expect=2)
        for expect in (0, 2, 3, 9):
            again = await store.append(session, events("once"), key=Key("k", "d"), expect=expect)
            assert (again.duplicate, again.position) == (True, first.position)
            with pytest.raises(IdempotencyConflict):
                await store.append(session, events("once"), key=Key("k", "other"), expect=expect)

    async def test_the_fencing_token_is_checked_before_the_expected_version(
        self, store: Store
    ) -> None:
        session, _ = await filled(store, 2)
        lease = await store.lease(session, owner="a", ttl=60)
        assert lease is not None
        with pytest.raises(Fenced):
            await store.append(session, events("late"), fence=f"{EPOCH}:99", expect=9)
        with pytest.raises(VersionConflict):
            await store.append(session, events("late"), fence=lease.fence, expect=1)
        assert (await store.append(session, [event(3)], fence=lease.fence, expect=2)).records
