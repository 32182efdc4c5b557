"""The store contract: how long sessions are kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from ..errors import NotFound
from ..store import SessionInfo, Store
from .contract_base import StoreFixtures, a_session, event
from .needs import pytest

LONG: Final = 1e12
"""Longer than any store has kept a session."""


async def a_kept_session(
    store: Store, *, updated: float = 1000.0, retention: float | None = None
) -> SessionInfo:
    info = msgspec.structs.replace(a_session(updated=updated), retention=retention)
    await store.create(info, epoch="e1")
    return info


async def expired(
    store: Store, made: Sequence[SessionInfo], *, retention: float | None
) -> list[SessionInfo]:
    """Those of ``made`` that have expired, in the order of the store."""
    found = await store.stale(retention=retention, limit=100_000)
    return [info for info in found if info in made]


class RetentionRules(StoreFixtures):
    """A session expires by its own retention, or else by the one that the caller gives."""

    async def test_a_session_expires_when_it_was_not_updated_for_its_retention(
        self, store: Store
    ) -> None:
        now = time.time()
        old, new = await a_kept_session(store), await a_kept_session(store, updated=now)
        assert await expired(store, [old, new], retention=3600.0) == [old]
        assert await expired(store, [old, new], retention=LONG) == []
        assert await expired(store, [old, new], retention=None) == []

    async def test_a_sessions_own_retention_counts_instead(self, store: Store) -> None:
        short = await a_kept_session(store, retention=60.0)
        long = await a_kept_session(store, retention=LONG)
        assert await expired(store, [short, long], retention=None) == [short]
        assert await expired(store, [short, long], retention=1.0) == [short]

    async def test_a_retention_is_changed_and_removed(self, store: Store) -> None:
        info = await a_kept_session(store, retention=60.0)
        changed = await store.update(info.id, retention=120.5)
        assert changed.retention == 120.5
        assert (await store.update(info.id, title="Named")).retention == 120.5
        assert (await store.update(info.id, retention=None)).retention is None
        assert (await store.info(info.id)).retention is None

    async def test_those_that_have_expired_first_come_first(self, store: Store) -> None:
        """So that deleting them in batches reaches all of them."""
        kept = [(2, None), (7, 5.0), (1, None), (3, 90.0), (5, 1.0), (0, None), (2, None)]
        made = [
            await a_kept_session(store, updated=float(updated), retention=retention)
            for updated, retention in kept
        ]
        order = sorted(made, key=lambda info: (info.updated + (info.retention or 10.0), info.id))
        assert await expired(store, made, retention=10.0) == order
        found = list(await store.stale(retention=10.0, limit=100_000))
        assert list(await store.stale(retention=10.0, limit=3)) == found[:3]

    async def test_a_session_with_a_valid_lease_has_not_expired(self, store: Store) -> None:
        info = await a_kept_session(store, retention=60.0)
        lease = await store.lease(info.id, owner="a", ttl=60.0)
        assert lease is not None
        assert await expired(store, [info], retention=None) == []
        assert await store.delete(info.id, updated=info.updated) is False
        await store.release(lease)
        assert await expired(store, [info], retention=None) == [info]
        assert await store.delete(info.id, updated=info.updated) is True
        with pytest.raises(NotFound):
            await store.info(info.id)

    async def test_a_session_that_was_used_after_it_had_expired_is_not_deleted(
        self, store: Store
    ) -> None:
        info = await a_kept_session(store, retention=60.0)
        [found] = await expired(store, [info], retention=None)
        await store.append(info.id, [event(1)])
        assert await store.delete(info.id, updated=found.updated) is False
        assert (await store.info(info.id)).updated > found.updated

    async def test_a_session_that_is_gone_counts_as_deleted(self, store: Store) -> None:
        info = await a_kept_session(store)
        assert await store.delete(info.id, updated=info.updated) is True
        assert await store.delete(info.id, updated=info.updated) is True
        assert await store.delete(info.id) is True
