"""Pages of a conversation that branched: all of them together are what is in view."""

from __future__ import annotations

import random

import pytest

from agentws.backends.memory import MemoryStore
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.events import Event
from agentws.protocol.fold import Fold
from agentws.protocol.sizes import PAGE
from agentws.sessions.compaction import compact_run
from agentws.sessions.session import Session
from agentws.store import PAGE as RECORDS
from tests.protocol.test_branches import Model

from .paging import joined, pages_of, text
from .test_session import session_of

SEEDS = range(25)
LARGE = 200_000


async def of(model: Model, store: MemoryStore) -> Session:
    """A session with the log of the model."""
    session = await session_of(store)
    for event, run in model.events:
        await session.append([event], run=run)
    return session


def grown(seed: int, steps: int = 25) -> Model:
    model = Model(seed)
    for _ in range(steps):
        model.step()
    return model


@pytest.mark.parametrize("seed", SEEDS)
async def test_all_pages_together_are_the_conversation_in_view(seed: int) -> None:
    model, store = grown(seed), MemoryStore()
    session = await of(model, store)
    whole = Fold().apply_all(model.records()).messages
    chance = random.Random(seed)
    for _ in range(4):
        messages = chance.randrange(1, 9)
        for size in (300, 1_000, PAGE):
            pages = await pages_of(session, size=size, messages=messages)
            assert joined(pages) == whole
        found: list[m.Message] = []
        before: int | None = session.head.seq + 1
        while before is not None:
            page = await session.page_before(before, messages=messages)
            found[:0] = page.messages
            before = page.before
        assert found == whole
    assert await session.messages() == whole


@pytest.mark.parametrize("seed", SEEDS)
async def test_branches_are_the_same_after_compaction_and_a_cold_start(seed: int) -> None:
    model, store = grown(seed), MemoryStore()
    session = await of(model, store)
    whole = await session.messages()
    lease = await store.lease(session.id, owner="here", ttl=60.0)
    assert lease is not None
    await session.settle(fence=lease.fence)
    await compact_run(store, session.id, first=1, last=session.head.seq)
    again = await Session.load(session.info, store, tail_size=0)
    assert again.outline.branches == session.outline.branches
    assert await again.messages() == whole
    assert joined(await pages_of(again, size=400)) == whole


async def large(session: Session, number: int, content: str) -> tuple[int, int]:
    """A turn with that answer; returns its first and its last seq."""
    asked, run = m.UserMessage(f"m{number}", f"m{number}"), f"run_{number}"
    await session.append([e.MessageAccepted(asked, "queue")])
    first = session.head.seq + 1
    given = m.RunAgentInput("t", run, [asked])
    events: list[Event] = [e.RunStarted("t", run, None, None, given)]
    for at in range(0, len(content), 10_000):
        events += text(f"a{number}_{at}", content[at : at + 10_000])
    for event in [*events, e.RunFinished("t", run)]:
        await session.append([event], run=run)
    return first, session.head.seq


async def test_a_large_answer_that_is_out_of_view_is_on_no_page() -> None:
    session = await session_of(MemoryStore())
    await large(session, 1, "x" * LARGE)
    first, last = await large(session, 2, "y" * LARGE)
    branched = e.HistoryBranched("m2", "m3", "b1", "b2", ["b1", "b2"], (first, last))
    await session.append([branched])
    await large(session, 3, "z" * LARGE)
    pages = await pages_of(session)
    assert len(pages) > 2
    users = [one.id for one in joined(pages) if isinstance(one, m.UserMessage)]
    assert users == ["m1", "m3"]
    back = e.HistoryBranched(
        "m3", "m2", "b2", "b1", ["b1", "b2"], (last + 3, session.head.seq), reload=True
    )
    await session.append([back])
    users = [one.id for one in joined(await pages_of(session)) if isinstance(one, m.UserMessage)]
    assert users == ["m1", "m2"]


async def test_a_page_does_not_read_what_is_out_of_view() -> None:
    class Counting(MemoryStore):
        records = 0

        async def read_back(self, session: str, *, before: int, limit: int = RECORDS):  # type: ignore[no-untyped-def]
            found = await super().read_back(session, before=before, limit=limit)
            self.records += len(found)
            return found

    store = Counting()
    session = await session_of(store)
    await large(session, 1, "x")
    first, last = await large(session, 2, "y" * 10_000_000)
    await session.append([e.HistoryBranched("m2", "m3", "b1", "b2", ["b1", "b2"], (first, last))])
    await large(session, 3, "z")
    store.records = 0
    page = await session.page_before(session.head.seq + 1, messages=20)
    assert [one.id for one in page.messages][::2] == ["m1", "m3"]
    assert last - first > 3_000 > 10 * store.records
