"""The store contract: leases and their fencing tokens, which decide who may run a session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import msgspec

from ..errors import Fenced
from ..store import Lease, LeaseRenewer, Settled, Store
from .contract_base import EPOCH, StoreFixtures, begin, event, eventually, filled
from .needs import pytest


def counter(lease: Lease) -> int:
    epoch, _, number = lease.fence.rpartition(":")
    assert epoch == EPOCH
    return int(number)


async def held(store: Store, session: str, owner: str, *, ttl: float = 60.0) -> Lease:
    lease = await store.lease(session, owner=owner, ttl=ttl)
    assert lease is not None
    return lease


class RenewerThread:
    """A renewer on a thread of its own. Every call blocks the event loop until it has returned."""

    def __init__(self, renewer: LeaseRenewer, thread: Executor) -> None:
        self._renewer = renewer
        self._thread = thread

    def renew(self, owner: str, sessions: Sequence[str]) -> list[str]:
        return list(self._thread.submit(self._renewer.renew, owner, sessions, ttl=60).result())

    def close(self) -> None:
        self._thread.submit(self._renewer.close).result()


@contextmanager
def renewer_of(store: Store) -> Iterator[RenewerThread | None]:
    """A renewer, which is closed at the end; ``None`` if this store has none."""
    renewer = store.lease_renewer()
    if renewer is None:
        yield None
        return
    with ThreadPoolExecutor(max_workers=1) as executor:
        thread = RenewerThread(renewer, executor)
        try:
            yield thread
        finally:
            thread.close()


class LeaseRules(StoreFixtures):
    """A session has at most one holder. A former holder can't append, however late it tries."""

    async def test_a_lease_has_its_session_its_owner_and_its_ttl(self, store: Store) -> None:
        session = await begin(store)
        lease = await held(store, session, "a", ttl=30)
        assert (lease.session, lease.owner, lease.ttl) == (session, "a", 30)
        assert counter(lease) > 0

    async def test_another_owner_gets_no_lease_while_one_is_held(
        self, store: Store, peer: Store
    ) -> None:
        session = await begin(store)
        await held(store, session, "a")
        assert await peer.lease(session, owner="b", ttl=60) is None
        assert await peer.lease(await begin(store), owner="b", ttl=60) is not None

    async def test_of_concurrent_requests_exactly_one_gets_the_lease(
        self, store: Store, peer: Store
    ) -> None:
        session = await begin(store)
        claims = await asyncio.gather(
            *((store if n % 2 else peer).lease(session, owner=f"node{n}", ttl=60) for n in range(8))
        )
        assert len([claim for claim in claims if claim is not None]) == 1

    async def test_the_holder_that_asks_again_keeps_its_fencing_token(self, store: Store) -> None:
        session = await begin(store)
        first = await held(store, session, "a")
        assert (await held(store, session, "a")).fence == first.fence

    async def test_an_expired_lease_goes_to_the_next_owner_with_a_greater_fencing_token(
        self, store: Store, peer: Store
    ) -> None:
        session = await begin(store)
        first = await held(store, session, "a", ttl=0.05)
        second = await eventually(lambda: peer.lease(session, owner="b", ttl=60))
        assert second.owner == "b"
        assert counter(second) > counter(first)
        assert await store.lease(session, owner="a", ttl=60) is None

    async def test_an_append_with_an_old_fencing_token_is_refused(
        self, store: Store, peer: Store
    ) -> None:
        session = await begin(store)
        first = await held(store, session, "a", ttl=0.05)
        await store.append(session, [event("first")], fence=first.fence)
        second = await eventually(lambda: peer.lease(session, owner="b", ttl=60))
        with pytest.raises(Fenced):
            await store.append(session, [event("late")], fence=first.fence)
        await peer.append(session, [event("second")], fence=second.fence)
        await store.append(session, [event("a command, by any node")])
        records = await store.read(session)
        assert [record.data for record in records] == [
            event("first"),
            event("second"),
            event("a command, by any node"),
        ]

    async def test_an_append_that_is_fenced_changes_nothing(self, store: Store) -> None:
        session, _ = await filled(store, 2)
        await held(store, session, "a")
        before = await store.head(session)
        for fence in (f"{EPOCH}:0", f"{EPOCH}:99", "e0:1", "", "1"):
            with pytest.raises(Fenced):
                await store.append(
                    session, [event("late")], fence=fence, settled=Settled(2, b"late")
                )
        assert await store.head(session) == before

    async def test_a_fenced_append_does_not_affect_concurrent_appends(self, store: Store) -> None:
        session = await begin(store)
        fence = (await held(store, session, "a")).fence
        done = await asyncio.gather(
            *(
                store.append(session, [event(n)], fence=fence if n % 2 else "stale:1")
                for n in range(10)
            ),
            return_exceptions=True,
        )
        assert [isinstance(outcome, Fenced) for outcome in done] == [True, False] * 5
        records = await store.read(session)
        assert [record.data for record in records] == [event(n) for n in (1, 3, 5, 7, 9)]

    async def test_a_released_lease_can_be_taken_at_once(self, store: Store, peer: Store) -> None:
        session = await begin(store)
        first = await held(store, session, "a")
        await store.release(first)
        second = await held(peer, session, "b")
        assert counter(second) > counter(first)

    async def test_a_fencing_token_is_never_issued_twice(self, store: Store) -> None:
        session = await begin(store)
        fences = []
        for owner in ("a", "b", "a", "a"):
            lease = await held(store, session, owner)
            fences.append(counter(lease))
            await store.release(lease)
        assert fences == sorted(set(fences))

    async def test_releasing_a_lease_that_is_not_held_does_nothing(self, store: Store) -> None:
        session = await begin(store)
        first = await held(store, session, "a")
        await store.release(first)
        await store.release(first)
        second = await held(store, session, "a")
        await store.release(first)
        await store.release(msgspec.structs.replace(second, owner="b"))
        assert await store.lease(session, owner="b", ttl=60) is None
        await store.delete(session)
        await store.release(second)

    async def test_renewing_returns_only_the_sessions_that_are_still_held(
        self, store: Store
    ) -> None:
        mine, brief, theirs, free = [await begin(store) for _ in range(4)]
        await held(store, mine, "a")
        await held(store, brief, "a", ttl=0.05)
        await held(store, theirs, "b")
        await eventually(lambda: store.lease(brief, owner="b", ttl=60))
        wanted = [mine, brief, theirs, free, "nothing"]
        assert list(await store.renew("a", wanted, ttl=60)) == [mine]
        assert list(await store.renew("a", [], ttl=60)) == []

    async def test_renewing_extends_a_lease(self, store: Store) -> None:
        session, other = await begin(store), await begin(store)
        renewed: list[str] = []
        ttl = 0.1
        # Longer each time, for a slow store or machine between the two calls.
        while not renewed and ttl < 60:
            ttl *= 2
            await held(store, session, "a", ttl=ttl)
            await held(store, other, "a", ttl=ttl)
            renewed = list(await store.renew("a", [session], ttl=60))
        assert renewed == [session]
        await eventually(lambda: store.lease(other, owner="b", ttl=60))
        assert await store.lease(session, owner="b", ttl=60) is None

    async def test_an_expired_lease_is_not_renewed(self, store: Store) -> None:
        session = await begin(store)
        await held(store, session, "a", ttl=0.05)
        await store.append(session, [event(1)])

        async def expired() -> bool:
            return session in await store.unsettled(limit=100_000)

        await eventually(expired)
        assert list(await store.renew("a", [session], ttl=60)) == []

    async def test_unsettled_lists_open_sessions_without_a_holder(self, store: Store) -> None:
        empty = await begin(store)
        (settled, _), (free, _), (taken, _) = [await filled(store, 2) for _ in range(3)]
        await store.append(settled, [], settled=Settled(2))
        await store.append(free, [], settled=Settled(1))
        lease = await held(store, taken, "a")
        found = await store.unsettled(limit=100_000)
        assert free in found
        assert not {empty, settled, taken} & set(found)
        await store.release(lease)
        assert taken in await store.unsettled(limit=100_000)
        assert len(await store.unsettled(limit=1)) == 1

    async def test_unsettled_lists_the_oldest_sessions_first(self, store: Store) -> None:
        """So that recovery in batches reaches all of them."""
        made = [(await filled(store, 1))[0] for _ in range(5)]
        for session in (made[3], made[0]):
            await store.append(session, [event("later")])
        infos = [await store.info(session) for session in made]
        order = [info.id for info in sorted(infos, key=lambda info: (info.updated, info.id))]
        found = list(await store.unsettled(limit=100_000))
        assert [id for id in found if id in order] == order
        assert list(await store.unsettled(limit=3)) == found[:3]


class RenewerRules(StoreFixtures):
    """A renewer needs no event loop: that is blocked while it works."""

    async def test_a_renewer_renews_only_the_leases_that_are_still_held(
        self, store: Store, peer: Store
    ) -> None:
        mine, brief, theirs, free = [await begin(store) for _ in range(4)]
        await held(store, mine, "a")
        await held(store, brief, "a", ttl=0.05)
        await held(store, theirs, "b")
        await eventually(lambda: peer.lease(brief, owner="b", ttl=60))
        with renewer_of(store) as renewer:
            if renewer is None:
                return
            wanted = [mine, brief, theirs, free, "nothing"]
            assert renewer.renew("a", wanted) == [mine]
            assert renewer.renew("a", []) == []

    async def test_a_renewer_extends_a_lease_and_keeps_its_fencing_token(
        self, store: Store, peer: Store
    ) -> None:
        session = await begin(store)
        with renewer_of(store) as renewer:
            if renewer is None:
                return
            renewed: list[str] = []
            ttl = 0.1
            # Longer each time, for a slow store or machine between the two calls.
            while not renewed and ttl < 60:
                ttl *= 2
                lease = await held(store, session, "a", ttl=ttl)
                renewed = renewer.renew("a", [session])
            assert renewed == [session]
            await asyncio.sleep(ttl)
            assert await peer.lease(session, owner="b", ttl=60) is None
            await store.append(session, [event(1)], fence=lease.fence)

    async def test_a_renewer_renews_again_and_is_closed_twice(self, store: Store) -> None:
        session = await begin(store)
        await held(store, session, "a")
        with renewer_of(store) as renewer:
            if renewer is None:
                return
            for _ in range(2):
                assert renewer.renew("a", [session]) == [session]
            renewer.close()
