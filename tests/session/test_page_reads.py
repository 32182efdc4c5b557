"""Reads of large pages: shared, and right although the log changes meanwhile."""

from __future__ import annotations

import asyncio

from agentws.backends.memory import MemoryStore
from agentws.errors import PositionLost
from agentws.protocol import events as e
from agentws.protocol.sizes import PAGE
from agentws.store import Store
from tests.session.test_session import session_of

from .paging import MIB, check, joined, pages_of, say, text


async def test_an_active_run_has_no_parts() -> None:
    session = await session_of(MemoryStore())
    await say(session, "r0", text("a", "before"))
    start = session.head.seq
    await say(session, "r1", text("b", "x" * MIB), end=False)
    for before in range(start + 2, session.head.seq):
        page = await session.page_before(before, messages=20, size=PAGE)
        assert [one.id for one in page.messages] == ["question-r0", "a"]
    assert [one.id for one in (await pages_of(session))[0].messages] == ["question-r0", "a"]


async def test_concurrent_requests_for_a_page_share_one_read() -> None:
    """Dividing a large run takes several times its size in memory, so it is done once."""

    class Counting(MemoryStore):
        reads = 0

        async def read_back(self, session: str, *, before: int, limit: int = 500):  # type: ignore[no-untyped-def]
            self.reads += 1
            await asyncio.sleep(0)
            return await super().read_back(session, before=before, limit=limit)

    store = Counting()
    session = await session_of(store)
    await say(session, "r0", text("a", "x" * (4 * MIB)))
    store.reads = 0
    alone = await session.snapshot(messages=20, size=PAGE)
    for_one, store.reads = store.reads, 0
    pages = await asyncio.gather(*(session.snapshot(messages=20, size=PAGE) for _ in range(20)))
    assert all(one.page is alone.page for one in pages)
    assert store.reads == 20 and for_one > 1


async def test_a_run_that_is_compacted_while_it_is_read_is_read_again() -> None:
    class Folding(MemoryStore):
        """Loses the position of a read, once."""

        lost = False

        async def read(self, session: str, *, after=None, limit: int = 500):  # type: ignore[no-untyped-def]
            if limit == 32 and not self.lost:
                self.lost = True
                raise PositionLost("compacted")
            return await super().read(session, after=after, limit=limit)

    store: Store = Folding()
    session = await session_of(store)
    await say(session, "r0", text("a", "x" * MIB))
    pages = await pages_of(session)
    assert joined(pages) == await session.messages()
    assert store.lost  # type: ignore[attr-defined]


async def test_a_part_requested_while_its_run_was_active_can_be_requested_after_it() -> None:
    session = await session_of(MemoryStore())
    await say(session, "r0", text("a", "before"))
    start = session.head.seq + 1
    await say(session, "r1", text("b", "x" * MIB), end=False)
    early = await session.page_before(start + 3, messages=20, size=PAGE)
    assert [one.id for one in early.messages] == ["question-r0", "a"]
    await session.append([e.RunFinished(session.id, "r1")], run="r1")
    late = await session.page_before(start + 3, messages=20, size=PAGE)
    assert [one.id for one in late.messages] == ["b"]
    await check(session)
