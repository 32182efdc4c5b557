"""The store contract: what a topic asks of its log, which is no session."""

from __future__ import annotations

import secrets
from typing import Final

import msgspec

from ..protocol.position import GENESIS, Position
from ..store import Key, Settled, Store
from .contract_base import EPOCH, StoreFixtures, a_session, event
from .needs import pytest

EVER: Final = Settled(2**53 - 1)
"""A checkpoint that no log ever reaches."""
LONG: Final = 1e12


class TopicRules(StoreFixtures):
    """A topic is settled for ever, kept for ever, owned by nobody, and trimmed at its beginning."""

    @pytest.fixture
    async def topic(self, store: Store) -> str:
        """The id of the log of a new topic; a session's has no colon."""
        id = f"topic:{secrets.token_urlsafe(12)}"
        info = msgspec.structs.replace(a_session(), id=id, agent="", retention=LONG)
        assert (await store.create(info, epoch=EPOCH))[0] == info
        return id

    async def test_a_log_that_is_settled_beyond_its_end_is_never_unsettled(
        self, store: Store, topic: str
    ) -> None:
        for number in range(3):
            done = await store.append(topic, [event(number)], settled=EVER, commutes=True)
            assert done.position.seq == number + 1
        assert topic not in await store.unsettled(limit=100_000)
        assert topic not in [one.id for one in await store.stale(retention=1.0, limit=100_000)]
        head = await store.head(topic)
        assert (head.position.seq, head.settled) == (3, EVER)
        await store.append(topic, [event(4)], key=Key("k", "d"), commutes=True)
        assert topic not in await store.unsettled(limit=100_000)

    async def test_a_log_is_trimmed_at_its_beginning_again_and_again(
        self, store: Store, topic: str
    ) -> None:
        for last in (4, 8, 8, 3):
            await store.append(topic, [event(n) for n in range(4)], settled=EVER, commutes=True)
            await store.compact(topic, first=1, last=last - 1, records=())
        assert [one.seq for one in await store.read(topic)] == list(range(8, 17))
        from_genesis = await store.read(topic, after=Position(EPOCH, 0, GENESIS), limit=2)
        assert [one.seq for one in from_genesis] == [8, 9]
        assert await store.heads([topic]) == [16]
