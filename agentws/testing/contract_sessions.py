"""The store contract: sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from secrets import token_hex
from typing import Final

import msgspec

from ..errors import NotFound, Unavailable
from ..protocol.position import GENESIS, Position
from ..store import Head, Key, Loaded, SessionInfo, Settled, Store
from .contract_base import (
    StoreFixtures,
    a_session,
    begin,
    event,
    events,
    every_call,
    filled,
    outside_a_task,
)
from .needs import pytest

NEEDS_A_SESSION: Final = (
    *("info", "load", "update", "append", "find", "head", "read", "read_back", "compact"),
    "lease",
)


async def pages_of(store: Store, owner: str, *, limit: int) -> list[Sequence[SessionInfo]]:
    """All sessions of an owner, read page by page."""
    pages = [await store.sessions(owner=owner, limit=limit)]
    while len(pages[-1]) == limit:
        last = pages[-1][-1]
        pages.append(await store.sessions(owner=owner, before=(last.updated, last.id), limit=limit))
    return pages if pages[-1] else pages[:-1]


async def listed_after(store: Store, info: SessionInfo) -> list[SessionInfo]:
    assert info.owner is not None
    return list(await store.sessions(owner=info.owner, before=(info.updated, info.id)))


class SessionRules(StoreFixtures):
    """Sessions are created once, found, listed, changed, and deleted for good."""

    async def test_a_ping_is_answered(self, store: Store) -> None:
        await store.ping()

    async def test_closing_twice_does_nothing(self, store: Store) -> None:
        await store.close()
        await store.close()

    async def test_a_closed_store_answers_or_raises_unavailable(self, store: Store) -> None:
        session, _ = await filled(store, 2)
        calls = every_call(store, session)
        await store.close()
        for call in calls.values():
            with suppress(Unavailable):
                await call()

    async def test_an_immediate_store_never_waits(self, store: Store) -> None:
        """It may be called outside a task. Any other store is called in a task only."""
        session, _ = await filled(store, 2)
        for call in every_call(store, session).values():
            if store.immediate:
                await outside_a_task(call)
            else:
                async with asyncio.timeout(60):
                    await call()

    async def test_a_new_session_has_an_empty_log(self, store: Store) -> None:
        info = a_session(owner="ada")
        assert await store.create(info, epoch="e7") == (info, True)
        assert await store.info(info.id) == info
        assert await store.head(info.id) == Head(Position("e7", 0, GENESIS), Settled())
        assert list(await store.read(info.id)) == []

    async def test_every_field_of_a_session_is_stored(self, store: Store) -> None:
        info = msgspec.structs.replace(
            a_session(owner="ada"),
            agent="support",
            created=1234.5,
            updated=2345.25,
            title="Grüße, 世界 'quoted' \"twice\" 🙂",
            metadata={"plan": "pro", "nested": {"list": [1, 2.5, None, True]}},
            retention=86400.5,
        )
        await store.create(info, epoch="e1")
        assert await store.info(info.id) == info
        assert (await store.load(info.id)).info == info

    async def test_a_session_is_loaded_with_the_end_of_its_log(self, store: Store) -> None:
        sessions = [(await filled(store, count))[0] for count in (1, 2, 3)]
        await store.append(sessions[1], [], settled=Settled(1, b"carried"))
        loaded = await asyncio.gather(
            *(store.load(one) for one in [*sessions, "ses_missing_0000000", *sessions]),
            return_exceptions=True,
        )
        assert isinstance(loaded.pop(3), NotFound)
        expected = [Loaded(await store.info(one), await store.head(one)) for one in sessions]
        assert loaded == expected * 2
        assert expected[1].head.settled == Settled(1, b"carried")

    async def test_of_concurrent_creates_exactly_one_creates_the_session(
        self, store: Store, peer: Store
    ) -> None:
        wanted = a_session()
        claims = [msgspec.structs.replace(wanted, owner=f"owner{n}") for n in range(12)]
        made = await asyncio.gather(
            *(
                (store if n % 2 else peer).create(claim, epoch=f"e{n}")
                for n, claim in enumerate(claims)
            )
        )
        winners = [n for n, (_, first) in enumerate(made) if first]
        assert len(winners) == 1
        assert all(info == claims[winners[0]] for info, _ in made)
        assert (await store.head(wanted.id)).position.epoch == f"e{winners[0]}"

    async def test_creating_an_existing_session_changes_nothing(self, store: Store) -> None:
        session, records = await filled(store, 2)
        before = await store.info(session)
        again = msgspec.structs.replace(before, owner="mallory", title="Mine now")
        assert await store.create(again, epoch="e9") == (before, False)
        assert list(await store.read(session)) == records

    @pytest.mark.parametrize("verb", NEEDS_A_SESSION)
    async def test_a_session_that_does_not_exist_is_not_found(
        self, store: Store, verb: str
    ) -> None:
        session = a_session().id
        with pytest.raises(NotFound):
            await every_call(store, session)[verb]()

    async def test_an_update_changes_only_the_given_fields(self, store: Store) -> None:
        info = msgspec.structs.replace(a_session(owner="ada"), title="Old", metadata={"a": 1})
        await store.create(info, epoch="e1")
        titled = await store.update(info.id, title="New")
        assert (titled.title, titled.metadata, titled.owner) == ("New", {"a": 1}, "ada")
        assert titled.updated > info.updated
        marked = await store.update(info.id, metadata={"b": 2})
        assert (marked.title, marked.metadata) == ("New", {"b": 2})
        assert marked.updated >= titled.updated
        switched = await store.update(info.id, agent="billing")
        assert (switched.agent, switched.title, marked.agent) == ("billing", "New", info.agent)
        assert await store.info(info.id) == switched

    async def test_a_title_that_is_to_be_kept_is_kept(self, store: Store) -> None:
        info = a_session()
        await store.create(info, epoch="e1")
        assert (await store.update(info.id, title="First", keep_title=True)).title == "First"
        assert (await store.update(info.id, title="Second", keep_title=True)).title == "First"
        assert (await store.update(info.id, title="Renamed")).title == "Renamed"
        assert (await store.info(info.id)).title == "Renamed"

    async def test_of_concurrent_first_titles_exactly_one_is_kept(
        self, store: Store, peer: Store
    ) -> None:
        session = await begin(store)
        named = await asyncio.gather(
            *(
                (store if n % 2 else peer).update(session, title=f"title {n}", keep_title=True)
                for n in range(12)
            )
        )
        assert {info.title for info in named} == {(await store.info(session)).title}

    async def test_an_append_updates_the_time_of_the_session(self, store: Store) -> None:
        session = await begin(store)
        before = await store.info(session)
        await store.append(session, [event(1)])
        after = await store.info(session)
        assert after.updated > before.updated
        assert after == msgspec.structs.replace(before, updated=after.updated)

    async def test_an_owners_sessions_are_listed_last_updated_first(self, store: Store) -> None:
        owner, other = token_hex(8), token_hex(8)
        for updated in (3.0, 1.0, 5.0, 2.0, 4.0):
            await store.create(a_session(owner=owner, updated=updated), epoch="e1")
            await store.create(a_session(owner=other, updated=updated), epoch="e1")
        await store.create(a_session(), epoch="e1")
        listed = await store.sessions(owner=owner)
        assert [info.updated for info in listed] == [5.0, 4.0, 3.0, 2.0, 1.0]
        assert {info.owner for info in listed} == {owner}

    async def test_sessions_are_listed_in_pages(self, store: Store) -> None:
        owner = token_hex(8)
        for updated in range(1, 6):
            await store.create(a_session(owner=owner, updated=float(updated)), epoch="e1")
        pages = await pages_of(store, owner, limit=2)
        assert [[info.updated for info in page] for page in pages] == [
            [5.0, 4.0],
            [3.0, 2.0],
            [1.0],
        ]
        assert list(await store.sessions(owner=owner, before=(1.0, ""))) == []
        assert list(await store.sessions(owner=token_hex(8))) == []

    async def test_sessions_updated_at_the_same_time_are_listed_once_each(
        self, store: Store
    ) -> None:
        owner = token_hex(8)
        made = [a_session(owner=owner, updated=float(n % 3)) for n in range(11)]
        for info in made:
            await store.create(info, epoch="e1")
        order = sorted(made, key=lambda info: (info.updated, info.id), reverse=True)
        for limit in (1, 2, 4, 11):
            pages = await pages_of(store, owner, limit=limit)
            assert [info for page in pages for info in page] == order
        await asyncio.gather(*(store.append(info.id, [event(1)]) for info in made))
        pages = await pages_of(store, owner, limit=2)
        listed = [info.id for page in pages for info in page]
        assert sorted(listed) == sorted(info.id for info in made)

    async def test_the_next_page_is_right_after_its_last_session_was_changed_or_deleted(
        self, store: Store
    ) -> None:
        owner = token_hex(8)
        made = [a_session(owner=owner, updated=float(n)) for n in (5, 4, 3, 2, 1)]
        for info in made:
            await store.create(info, epoch="e1")
        await store.update(made[1].id, title="Used meanwhile")
        assert await listed_after(store, made[1]) == made[2:]
        await store.delete(made[2].id)
        assert await listed_after(store, made[2]) == made[3:]

    async def test_a_deleted_session_is_gone_and_its_id_can_not_be_used_again(
        self, store: Store
    ) -> None:
        owner = token_hex(8)
        info = a_session(owner=owner)
        await store.create(info, epoch="e1")
        await store.append(info.id, events(1, 2), key=Key("k", "d"))
        await store.lease(info.id, owner="a", ttl=60)
        await store.delete(info.id)
        for gone in (store.info, store.head, store.load, store.read):
            with pytest.raises(NotFound):
                await gone(info.id)
        with pytest.raises(NotFound):
            await store.append(info.id, [event(3)])
        assert list(await store.heads([info.id])) == [None]
        assert list(await store.sessions(owner=owner)) == []
        assert info.id not in await store.unsettled(limit=100_000)
        with pytest.raises(NotFound):
            await store.create(info, epoch="e2")

    async def test_deleting_a_session_that_does_not_exist_does_nothing(self, store: Store) -> None:
        info = a_session()
        await store.delete(info.id)
        assert await store.create(info, epoch="e1") == (info, True)
        await store.delete(info.id)
        await store.delete(info.id)

    async def test_deleting_a_session_leaves_the_others_unchanged(self, store: Store) -> None:
        (one, records), two = await filled(store, 3), await begin(store)
        await store.append(two, events(1), key=Key("k", "d"))
        await store.delete(two)
        three = await begin(store)
        assert list(await store.read(one)) == records
        assert list(await store.read(three)) == []
        done = await store.append(three, events(2), key=Key("k", "other"))
        assert (done.duplicate, done.position.seq) == (False, 1)

    async def test_heads_are_returned_in_the_order_of_the_ids(self, store: Store) -> None:
        empty = await begin(store)
        (three, _), (two, _) = await filled(store, 3), await filled(store, 2)
        missing = a_session().id
        asked = [two, missing, empty, three, two]
        assert list(await store.heads(asked)) == [2, None, 0, 3, 2]
        assert list(await store.heads([])) == []
