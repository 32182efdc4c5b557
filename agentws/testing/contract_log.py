"""The store contract: appending to a log and reading it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec

from ..errors import Fenced, IdempotencyConflict, NotFound, PositionLost
from ..protocol.codec import Record
from ..protocol.position import GENESIS, Position
from ..store import PAGE, Head, Key, Settled, Store
from .contract_base import (
    EPOCH,
    StoreFixtures,
    begin,
    event,
    events,
    everything,
    filled,
)
from .needs import pytest
from .oracle import check_tags


def position(record: Record, *, epoch: str = EPOCH) -> Position:
    return Position(epoch, record.seq, record.tag)


class AppendRules(StoreFixtures):
    """Appends are atomic, ordered, chained, and idempotent under an idempotency key."""

    async def test_appended_events_have_consecutive_seqs_and_chained_tags(
        self, store: Store
    ) -> None:
        session = await begin(store)
        first = await store.append(session, events("a", "b", "c"))
        second = await store.append(session, events("d"))
        records = [*first.records, *second.records]
        assert [record.data for record in records] == events("a", "b", "c", "d")
        check_tags(records)
        assert (first.position, second.position) == (position(records[2]), position(records[3]))
        assert (first.duplicate, second.duplicate) == (False, False)
        assert list(await store.read(session)) == records
        assert (await store.head(session)).position == second.position

    async def test_events_are_stored_byte_for_byte(self, store: Store) -> None:
        session = await begin(store)
        texts = ["Grüße, 世界 🙂", r"\u0000 \" \\ ' %s ?1 :a $b", "x" * 100_000, "a\x7fb\u2028"]
        wanted = [b'{"event":{"type":"RAW","event":"%b"}}' % text.encode() for text in texts]
        await store.append(session, wanted)
        records = await store.read(session)
        assert [record.data for record in records] == wanted
        check_tags(records)

    async def test_an_append_without_events_can_set_the_checkpoint(self, store: Store) -> None:
        session, records = await filled(store, 3)
        done = await store.append(session, [], settled=Settled(2))
        assert (list(done.records), done.position) == ([], position(records[-1]))
        head = await store.head(session)
        assert (head.position, head.settled) == (position(records[-1]), Settled(2))

    async def test_the_checkpoint_never_moves_back(self, store: Store, peer: Store) -> None:
        session, _ = await filled(store, 5)
        three, again, four = Settled(3, b"three"), Settled(3, b"again"), Settled(4)
        steps = (
            (Settled(0, b"none"), Settled(0, b"none")),
            (three, three),
            (Settled(1, b"one"), three),
            (None, three),
            (again, again),
            (four, four),
            (three, four),
        )
        for asked, settled in steps:
            await store.append(session, [event("more")], settled=asked)
            assert (await peer.head(session)).settled == settled

    async def test_of_concurrent_checkpoints_the_highest_one_remains(
        self, store: Store, peer: Store
    ) -> None:
        session, _ = await filled(store, 20)
        marks = [Settled(seq, b"%d" % seq) for seq in (3, 17, 5, 20, 11, 2, 19)]
        await asyncio.gather(
            *((store if mark.seq % 2 else peer).append(session, [], settled=mark) for mark in marks)
        )
        assert (await store.head(session)).settled == Settled(20, b"20")

    async def test_the_state_of_a_checkpoint_may_be_large_and_of_any_bytes(
        self, store: Store
    ) -> None:
        (session, records), (other, _) = await filled(store, 3), await filled(store, 2)
        carried = bytes(range(256)) * 2000
        await store.append(session, [], settled=Settled(3, carried))
        assert (await store.head(session)).settled == Settled(3, carried)
        assert (await store.head(other)).settled == Settled()
        done = await store.append(session, events("next"))
        assert await store.head(session) == Head(done.position, Settled(3, carried))
        assert list(await store.read(session)) == [*records, *done.records]

    async def test_the_state_of_a_checkpoint_is_deleted_with_its_session(
        self, store: Store
    ) -> None:
        (kept, _), (gone, _) = await filled(store, 2), await filled(store, 2)
        await store.append(kept, [], settled=Settled(2, b"kept"))
        await store.append(gone, [], settled=Settled(2, b"gone"))
        await store.delete(gone)
        new = await begin(store)
        assert (await store.head(new)).settled == Settled()
        assert (await store.head(kept)).settled == Settled(2, b"kept")

    async def test_concurrent_appends_are_atomic_and_totally_ordered(
        self, store: Store, peer: Store
    ) -> None:
        session = await begin(store)

        async def write(writer: int) -> list[int]:
            through = store if writer % 2 else peer
            seen = []
            for turn in range(4):
                batch = events(*(f"{writer}.{turn}.{n}" for n in range(3)))
                done = await through.append(session, batch)
                assert [record.data for record in done.records] == batch
                seen.append(done.position.seq)
            return seen

        ends = await asyncio.gather(*(write(writer) for writer in range(8)))
        records = await everything(peer, session)
        assert len(records) == 8 * 4 * 3
        check_tags(records)
        assert all(seen == sorted(seen) for seen in ends)
        for start in range(0, len(records), 3):
            names = [record.data.rpartition(b'",')[0][:-1] for record in records[start : start + 3]]
            assert len(set(names)) == 1, "the events of one append stand together"

    async def test_a_reader_sees_all_events_of_an_append_or_none(
        self, store: Store, peer: Store
    ) -> None:
        session = await begin(store)

        async def write() -> None:
            for turn in range(20):
                await store.append(session, events(*(f"{turn}.{n}" for n in range(5))))

        writing = asyncio.ensure_future(write())
        while not writing.done():
            await asyncio.sleep(0)
            records = await peer.read(session)
            assert len(records) % 5 == 0
            check_tags(records)
            assert (await peer.head(session)).position.seq >= len(records)
        await writing

    async def test_an_append_can_be_read_as_soon_as_it_has_returned(
        self, store: Store, peer: Store
    ) -> None:
        session = await begin(store)
        for turn in range(10):
            done = await store.append(session, events(turn))
            assert (await peer.head(session)).position == done.position
            assert (await peer.read(session))[-1] == done.records[-1]

    async def test_a_cancelled_append_appends_everything_or_nothing(self, store: Store) -> None:
        session = await begin(store)
        for turn in range(10):
            append = asyncio.ensure_future(store.append(session, events("a", "b", "c")))
            for _ in range(turn % 4):
                await asyncio.sleep(0)
            append.cancel()
            with suppress(asyncio.CancelledError):
                await append
        done = await store.append(session, events("last"))
        assert done.position.seq % 3 == 1
        records = await everything(store, session)
        assert records[-1].data == event("last")
        check_tags(records)

    # Keys

    async def test_a_second_append_with_the_same_idempotency_key_changes_nothing(
        self, store: Store
    ) -> None:
        session = await begin(store)
        first = await store.append(session, events(1, 2), key=Key("m1", "d1"))
        await store.append(session, events(3))
        again = await store.append(
            session, events("other"), key=Key("m1", "d1"), settled=Settled(3)
        )
        assert again.duplicate
        assert again.position == first.position
        assert list(again.records) == []
        head = await store.head(session)
        assert (head.position.seq, head.settled) == (3, Settled())

    async def test_an_append_without_events_can_use_an_idempotency_key(
        self, store: Store, peer: Store
    ) -> None:
        empty, (session, records) = await begin(store), await filled(store, 3)
        for log, end in ((empty, Position(EPOCH, 0, GENESIS)), (session, position(records[-1]))):
            first = await store.append(log, [], key=Key("m1", "d1"))
            assert (list(first.records), first.position, first.duplicate) == ([], end, False)
            await store.append(log, events("between"))
            for again in (
                await peer.append(log, [], key=Key("m1", "d1")),
                await peer.append(log, events("other"), key=Key("m1", "d1")),
                await peer.find(log, Key("m1", "d1")),
            ):
                assert again is not None
                assert (again.position, again.duplicate) == (end, True)
            with pytest.raises(IdempotencyConflict):
                await store.append(log, [], key=Key("m1", "d2"))
        assert [record.data for record in await store.read(empty)] == events("between")

    async def test_an_idempotency_key_with_another_digest_is_refused(self, store: Store) -> None:
        session = await begin(store)
        await store.append(session, events(1), key=Key("m1", "d1"))
        with pytest.raises(IdempotencyConflict):
            await store.append(session, events(2), key=Key("m1", "d2"))
        assert (await store.head(session)).position.seq == 1

    async def test_find_returns_the_position_of_an_idempotency_keys_append(
        self, store: Store
    ) -> None:
        session = await begin(store)
        assert await store.find(session, Key("m1", "d1")) is None
        first = await store.append(session, events(1, 2), key=Key("m1", "d1"))
        await store.append(session, events(3))
        found = await store.find(session, Key("m1", "d1"))
        assert found is not None
        assert (found.position, found.duplicate) == (first.position, True)
        assert await store.find(session, Key("m2", "d1")) is None
        assert await store.find(await begin(store), Key("m1", "d1")) is None
        with pytest.raises(IdempotencyConflict):
            await store.find(session, Key("m1", "d2"))
        assert (await store.head(session)).position.seq == 3

    async def test_each_session_has_its_own_idempotency_keys(self, store: Store) -> None:
        one, two = await begin(store), await begin(store)
        for session in (one, two):
            done = await store.append(session, events(1), key=Key("m1", session))
            assert not done.duplicate
        done = await store.append(one, events(2), key=Key("m2", "d1"))
        assert (done.duplicate, done.position.seq) == (False, 2)

    async def test_of_concurrent_duplicates_exactly_one_is_appended(
        self, store: Store, peer: Store
    ) -> None:
        session = await begin(store)
        done = await asyncio.gather(
            *(
                (store if n % 2 else peer).append(session, events(n), key=Key("m1", "d1"))
                for n in range(10)
            )
        )
        assert [appended.duplicate for appended in done].count(False) == 1
        assert len({appended.position for appended in done}) == 1
        assert (await store.head(session)).position.seq == 1

    async def test_an_append_that_is_refused_does_not_use_its_idempotency_key(
        self, store: Store
    ) -> None:
        session = await begin(store)
        with pytest.raises(Fenced):
            await store.append(session, events(1), key=Key("m1", "d1"), fence=f"{EPOCH}:99")
        done = await store.append(session, events(2), key=Key("m1", "d2"))
        assert (done.duplicate, done.position.seq) == (False, 1)


class ReadRules(StoreFixtures):
    """Reads continue exactly after a position, or raise PositionLost with the reason."""

    async def test_a_read_begins_after_the_given_position(self, store: Store) -> None:
        session, records = await filled(store, 5)
        for at, record in enumerate(records):
            assert list(await store.read(session, after=position(record))) == records[at + 1 :]
        start = Position(EPOCH, 0, GENESIS)
        assert list(await store.read(session, after=start)) == records

    async def test_a_log_can_be_read_page_by_page(self, store: Store) -> None:
        session, records = await filled(store, 10)
        assert list(await store.read(session, limit=4)) == records[:4]
        assert list(await store.read(session, after=position(records[3]), limit=4)) == records[4:8]
        assert list(await store.read(session, after=position(records[7]), limit=4)) == records[8:]
        assert await everything(store, session) == records

    async def test_a_page_is_full_unless_the_log_ends(self, store: Store) -> None:
        session, records = await filled(store, 600)
        assert list(await store.read(session)) == records[:PAGE]
        assert list(await store.read(session, after=position(records[7]))) == records[8 : PAGE + 8]
        assert list(await store.read(session, after=position(records[PAGE - 1]))) == records[PAGE:]
        assert list(await store.read(session, limit=600)) == records
        assert list(await store.read_back(session, before=601)) == records[-PAGE:]
        assert list(await store.read_back(session, before=101)) == records[:100]

    async def test_a_page_of_large_events_is_full_too(self, store: Store) -> None:
        session = await begin(store)
        large = [b'{"event":{"type":"RAW","event":"%b"}}' % (b"%d" % n * 50_000) for n in range(40)]
        for start in range(0, 40, 10):
            await store.append(session, large[start : start + 10])
        assert [record.data for record in await store.read(session)] == large
        assert [record.data for record in await store.read(session, limit=30)] == large[:30]
        back = await store.read_back(session, before=41, limit=39)
        assert [record.data for record in back] == large[1:]

    async def test_a_position_of_another_epoch_is_lost(self, store: Store) -> None:
        session, records = await filled(store, 3)
        for foreign in (position(records[1], epoch="e0"), Position("e0", 0, GENESIS)):
            await self._lost(store, session, foreign, "epoch")

    async def test_a_position_beyond_the_end_of_the_log_is_lost(self, store: Store) -> None:
        session, records = await filled(store, 3)
        await self._lost(store, session, Position(EPOCH, 4, records[-1].tag), "future")
        empty = await begin(store)
        await self._lost(store, empty, Position(EPOCH, 1, records[0].tag), "future")

    async def test_a_position_of_a_divergent_history_is_lost(self, store: Store) -> None:
        session, records = await filled(store, 3)
        for at in range(3):
            other = Position(EPOCH, at + 1, "0123456789abcdef")
            await self._lost(store, session, other, "diverged")
        await self._lost(store, session, Position(EPOCH, 2, records[2].tag), "diverged")

    async def test_reads_at_the_same_time_do_not_affect_each_other(self, store: Store) -> None:
        session, records = await filled(store, 40)
        short, few = await filled(store, 2)
        diverged = Position(EPOCH, 2, "0123456789abcdef")
        reads = [store.read(session, after=position(one), limit=7) for one in records]
        reads += [store.read(short), store.read(short, after=diverged), store.read("ses_none")]
        *pages, all_of_short, lost, missing = await asyncio.gather(*reads, return_exceptions=True)
        assert pages == [records[at + 1 : at + 8] for at in range(40)]
        assert all_of_short == few
        assert isinstance(lost, PositionLost) and lost.reason == "diverged"
        assert isinstance(missing, NotFound)

    async def test_reading_back_returns_the_nearest_events_in_log_order(self, store: Store) -> None:
        session, records = await filled(store, 10)
        assert list(await store.read_back(session, before=8, limit=3)) == records[4:7]
        assert list(await store.read_back(session, before=3, limit=5)) == records[:2]
        assert list(await store.read_back(session, before=11, limit=2)) == records[8:]
        assert list(await store.read_back(session, before=1_000_000)) == records
        assert list(await store.read_back(session, before=1)) == []

    # Compaction

    async def test_compaction_replaces_a_range_of_events(self, store: Store) -> None:
        session, records = await filled(store, 8)
        folded = msgspec.structs.replace(records[4], data=event("folded"))
        left = [*records[:2], folded, *records[6:]]
        for _ in range(2):
            await store.compact(session, first=3, last=6, records=[folded])
            assert list(await store.read(session)) == left
            assert list(await store.read_back(session, before=9)) == left

    async def test_a_position_is_lost_only_if_compaction_removed_its_event(
        self, store: Store
    ) -> None:
        session, records = await filled(store, 8)
        folded = msgspec.structs.replace(records[4], data=event("folded"))
        await store.compact(session, first=3, last=6, records=[folded])
        left = [*records[:2], folded, *records[6:]]
        for at, record in enumerate(left):
            assert list(await store.read(session, after=position(record))) == left[at + 1 :]
        assert list(await store.read(session, after=Position(EPOCH, 0, GENESIS))) == left
        for gone in (records[2], records[3], records[5]):
            await self._lost(store, session, position(gone), "compacted")

    async def test_appends_continue_after_compaction(self, store: Store) -> None:
        session, records = await filled(store, 4)
        await store.append(session, events(5), key=Key("m1", "d1"), settled=Settled(4, b"four"))
        head = await store.head(session)
        await store.compact(session, first=1, last=4, records=[records[3]])
        assert await store.head(session) == head
        again = await store.append(session, events(5), key=Key("m1", "d1"))
        assert (again.duplicate, again.position) == (True, head.position)
        untouched = await begin(store)
        await store.append(untouched, events(1, 2, 3, 4, 5, 6))
        done = await store.append(session, events(6))
        assert done.position == (await store.head(untouched)).position

    async def test_compacting_events_away_keeps_the_head(self, store: Store) -> None:
        session, _ = await filled(store, 4)
        head = await store.head(session)
        await store.compact(session, first=1, last=3, records=[])
        assert await store.head(session) == head
        assert [record.seq for record in await store.read(session)] == [4]

    async def _lost(self, store: Store, session: str, after: Position, reason: str) -> None:
        with pytest.raises(PositionLost) as lost:
            await store.read(session, after=after)
        assert lost.value.reason == reason
