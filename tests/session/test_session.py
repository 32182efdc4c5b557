"""A session: its followers, replay, snapshots and pages; loading and eviction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

import pytest

from agentws.backends.local import LocalBus
from agentws.backends.memory import MemoryStore
from agentws.errors import NotFound, PositionLost, Unavailable
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.codec import Record
from agentws.protocol.position import GENESIS, Position
from agentws.sessions.compaction import compact_run
from agentws.sessions.follower import Bell
from agentws.sessions.registry import Sessions
from agentws.sessions.session import Session
from agentws.store import PAGE, SessionInfo, Store
from agentws.testing.faults import FaultyStore, SlowStore, WrappedStore
from tests.limits import limits

T = TypeVar("T")
INFO = SessionInfo(id="a-session-of-this-test", agent="agent", created=0.0, updated=0.0)


def note(number: int) -> e.NoticePosted:
    return e.NoticePosted(str(number), "info")


async def session_of(store: Store, *, tail_size: int = 10_000) -> Session:
    info, _ = await store.create(INFO, epoch="e1")
    return await Session.load(info, store, tail_size=tail_size)


async def a_run(session: Session, number: int, *words: str) -> None:
    """Appends a question and its answer, event by event."""
    run, question = f"run_{number}", m.UserMessage(f"m{number}", f"question {number}")
    given = m.RunAgentInput(session.id, run, [question])
    await session.append([e.MessageAccepted(question, "queue")])
    events: list[e.Event] = [
        e.RunStarted(session.id, run, e.AGUI_VERSION, None, given),
        e.TextMessageStart(f"a{number}"),
        *(e.TextMessageContent(message_id=f"a{number}", delta=word) for word in words),
        e.TextMessageEnd(f"a{number}"),
        e.RunFinished(session.id, run),
    ]
    for event in events:
        await session.append([event], run=run)


async def follow(session: Session, after: Position | None) -> AsyncGenerator[Record, None]:
    """A reader as transports are: it follows before it reads, so that it misses no event."""
    bell = Bell()
    session.follow(bell)
    position = after or Position(session.head.epoch, 0, GENESIS)
    try:
        while True:
            bell.clear()
            while records := await session.read(position):
                for record in records:
                    yield record
                position = Position(position.epoch, records[-1].seq, records[-1].tag)
            await bell.wait()
    finally:
        session.unfollow(bell)


async def read(session: Session, after: Position | None, count: int) -> list[int]:
    seqs: list[int] = []
    following = follow(session, after)
    async with asyncio.timeout(5), aclosing(following):
        async for record in following:
            seqs.append(record.seq)
            if len(seqs) == count:
                break
    return seqs


async def test_a_follower_misses_no_event() -> None:
    """An event that is appended between reading and waiting rings the follower."""
    session = await session_of(MemoryStore())
    await session.append([note(1)])
    reading = asyncio.create_task(read(session, None, 50))
    for number in range(2, 51):
        await session.append([note(number)])
        await asyncio.sleep(0)
    assert await reading == list(range(1, 51))
    assert session.followers == ()


async def test_a_follower_far_behind_the_tail_reads_the_store() -> None:
    session = await session_of(MemoryStore(), tail_size=100)
    for number in range(2 * PAGE):
        await session.append([note(number)])
    assert session.tail_after(Position("e1", 1, "")) is None
    assert await read(session, None, 2 * PAGE) == list(range(1, 2 * PAGE + 1))


async def test_a_follower_of_a_lost_log_gets_position_lost() -> None:
    session = await session_of(MemoryStore())
    await session.append([note(1)])
    reading = asyncio.create_task(read(session, session.head, 1))
    await asyncio.sleep(0)
    session.invalidate()
    with pytest.raises(PositionLost):
        await reading


async def test_two_sessions_over_one_log_agree() -> None:
    store = MemoryStore()
    one, two = await session_of(store), await session_of(store)
    await one.append([note(1)])
    await two.append([note(2)])
    assert two.head.seq == 2, "an append that finds the log grown reads what came before it"
    await one.catch_up()
    assert one.head == two.head
    tails = [view.tail_after(Position("e1", 0, GENESIS)) for view in (one, two)]
    assert tails[0] is not None and tails[1] is not None
    assert list(tails[0]) == list(tails[1])


async def test_catching_up_during_another_read_still_gets_every_earlier_event() -> None:
    inner = MemoryStore()
    store = SlowStore(inner, slow_on="read")
    view, other = await session_of(store), await session_of(inner)
    await other.append([note(1)])
    store.pause()
    first = asyncio.create_task(view.catch_up())
    await asyncio.sleep(0)
    await other.append([note(2)])
    second = asyncio.create_task(view.catch_up())
    await asyncio.sleep(0)
    assert not second.done()
    store.resume()
    await second
    assert view.head.seq == 2
    await first


async def test_callers_that_came_during_a_failed_read_share_another_one() -> None:
    inner = MemoryStore()
    slow = SlowStore(inner, slow_on="read")
    store = FaultyStore(slow)
    view, other = await session_of(store), await session_of(inner)
    await other.append([note(1)])
    slow.pause()
    store.fail("read", times=1, after=True)
    waiting = [asyncio.create_task(view.catch_up()) for _ in range(3)]
    await asyncio.sleep(0)
    slow.resume()
    failed, *others = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(failed, Unavailable) and others == [None, None]
    assert view.head.seq == 1 and store.calls["read"] == 2


async def test_a_cancelled_read_is_made_by_another_caller() -> None:
    inner = MemoryStore()
    store = SlowStore(inner, slow_on="read")
    view, other = await session_of(store), await session_of(inner)
    await other.append([note(1)])
    store.pause()
    first = asyncio.create_task(view.catch_up())
    await asyncio.sleep(0)
    second = asyncio.create_task(view.catch_up())
    await asyncio.sleep(0)
    first.cancel()
    store.resume()
    await second
    assert view.head.seq == 1


async def test_a_log_with_gaps_from_compaction_is_read_completely() -> None:
    """Compaction leaves gaps in the seqs."""
    store = MemoryStore()
    session = await session_of(store)
    await a_run(session, 1, "a", "b", "c", "d")
    await compact_run(session._store, session.id, first=1, last=session.head.seq)
    await a_run(session, 2, "e", "f")
    fresh = await session_of(store)
    assert fresh.head == session.head
    stored = [record.seq for record in await store.read(INFO.id)]
    assert await read(fresh, None, len(stored)) == stored
    for record in await store.read(INFO.id):
        position = Position("e1", record.seq, record.tag)
        assert await fresh.check(position) is None
        tail = fresh.tail_after(position)
        if tail is not None:
            assert [one.seq for one in tail] == [seq for seq in stored if seq > record.seq]
    assert await fresh.check(Position("e1", 4, "0123456789abcdef")) in ("compacted", "diverged")


async def test_a_reader_whose_position_was_compacted_is_told_so() -> None:
    """It must not get a part of the folded deltas."""
    session = await session_of(MemoryStore(), tail_size=1)
    await a_run(session, 1, *"abcdefgh")
    following = follow(session, None)
    seen = [await anext(following) for _ in range(6)]
    await compact_run(session._store, session.id, first=1, last=session.head.seq)
    session.forget_tail()
    middle = Position("e1", seen[-1].seq, seen[-1].tag)
    assert await session.check(middle) == "compacted"
    await following.aclose()


async def test_the_whole_conversation_can_be_read_while_it_is_compacted() -> None:
    """A page may end at a delta that is removed before the next page is read."""

    class Compacting(WrappedStore):
        async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
            done = await call()
            if operation == "read" and not compacted:
                compacted.append(True)
                await compact_run(self.store, INFO.id, first=1, last=last)
            return done

    compacted: list[bool] = []
    store = Compacting(MemoryStore())
    session = await session_of(store)
    await a_run(session, 1, *("word " for _ in range(PAGE + 50)))
    last = session.head.seq
    messages = await session.messages()
    assert compacted
    assert messages[-1].content == "word " * (PAGE + 50)


async def test_a_snapshot_has_the_newest_messages() -> None:
    session = await session_of(MemoryStore())
    for number in range(40):
        await a_run(session, number, "answer")
    whole = await session.messages()
    assert len(whole) == 80
    snapshot = await session.snapshot(messages=10)
    assert snapshot.position == session.head
    assert snapshot.page.messages == whole[-len(snapshot.page.messages) :]
    assert 10 <= len(snapshot.page.messages) <= 12
    assert snapshot.page.before is not None


async def test_all_pages_together_are_the_whole_conversation() -> None:
    session = await session_of(MemoryStore())
    for number in range(25):
        await a_run(session, number, "answer")
        if number % 7 == 0:
            await session.append([note(number)])
    pages: list[m.Message] = []
    before: int | None = session.head.seq + 1
    while before is not None:
        page = await session.page_before(before, messages=6)
        assert page.messages
        pages[:0] = page.messages
        before = page.before
    assert pages == await session.messages()


async def test_a_snapshot_has_notices_after_the_messages_they_followed() -> None:
    session = await session_of(MemoryStore())
    await session.append([note(0)])
    for number in (1, 2):
        await a_run(session, number, "yes")
        await session.append([note(number)])
    page = (await session.snapshot(messages=2)).page
    notices = [(one.event.content, one.after) for one in page.notices]
    assert notices == [("2", "a2")], "a snapshot has no notices of older pages"
    page = (await session.snapshot(messages=10)).page
    notices = [(one.event.content, one.after) for one in page.notices]
    assert notices == [("0", None), ("1", "a1"), ("2", "a2")]
    await session.append([e.HistoryCleared(), note(3)])
    notices = [
        (one.event.content, one.after) for one in (await session.snapshot(messages=2)).page.notices
    ]
    assert notices == [("3", None)]


async def test_the_number_of_notices_in_a_snapshot_is_bounded() -> None:
    session = await session_of(MemoryStore())
    for number in range(150):
        await session.append([note(number)])
    page = (await session.snapshot(messages=2)).page
    assert [int(one.event.content) for one in page.notices] == list(range(50, 150))


async def test_a_snapshot_during_a_run_ends_before_that_run() -> None:
    session = await session_of(MemoryStore())
    await a_run(session, 1, "answer")
    before = session.head
    question = m.UserMessage("m2", "question")
    given = m.RunAgentInput(session.id, "run_2", [question])
    await session.append([e.RunStarted(session.id, "run_2", None, None, given)], run="run_2")
    await session.append([e.TextMessageStart("a2")], run="run_2")
    snapshot = await session.snapshot(messages=10)
    assert snapshot.position == before
    assert [message.id for message in snapshot.page.messages] == ["m1", "a1"]


# Sessions in memory


@pytest.fixture
async def sessions() -> AsyncIterator[Sessions]:
    made = Sessions(
        store=MemoryStore(), bus=LocalBus(), limits=limits(session_idle=10.0), clock=lambda: 0.0
    )
    yield made
    await made.aclose()


async def test_concurrent_callers_load_a_session_once() -> None:
    store = SlowStore(MemoryStore(), delay=0.1)
    made = Sessions(store=store, bus=LocalBus(), limits=limits(), clock=lambda: 0.0)
    entering = [made.enter(INFO.id, owner=None, agent="agent") for _ in range(20)]
    results = await asyncio.gather(*entering)
    assert len({id(session) for session, _ in results}) == 1
    assert sum(new for _, new in results) == 1
    await made.aclose()


async def test_a_load_that_is_cancelled_is_made_by_another_caller() -> None:
    store = SlowStore(MemoryStore(), slow_on="create")
    made = Sessions(store=store, bus=LocalBus(), limits=limits(), clock=lambda: 0.0)
    store.pause()
    entering = [
        asyncio.create_task(made.enter(INFO.id, owner=None, agent="agent")) for _ in range(4)
    ]
    for cancelled in entering[:2]:
        await asyncio.sleep(0)
        cancelled.cancel()
    await asyncio.sleep(0)
    store.resume()
    results = await asyncio.gather(*entering[2:])
    assert [new for _, new in results] == [True, False]
    assert len({id(session) for session, _ in results}) == 1
    await made.aclose()


async def test_a_load_that_fails_says_nothing_of_one_that_begins_later() -> None:
    store = FaultyStore(SlowStore(MemoryStore(), delay=0.1))
    made = Sessions(store=store, bus=LocalBus(), limits=limits(), clock=lambda: 0.0)
    await store.create(INFO, epoch="e1")
    store.fail("load", times=1, after=True)
    first = asyncio.create_task(made.find(INFO.id))
    await asyncio.sleep(0)
    later = [asyncio.create_task(made.find(INFO.id)) for _ in range(3)]
    with pytest.raises(Unavailable):
        await first
    assert len({id(session) for session in await asyncio.gather(*later)}) == 1
    await made.aclose()


async def test_all_callers_that_a_failed_load_began_after_fail() -> None:
    store = FaultyStore(SlowStore(MemoryStore(), delay=0.1))
    made = Sessions(store=store, bus=LocalBus(), limits=limits(), clock=lambda: 0.0)
    await store.create(INFO, epoch="e1")
    store.fail("load", times=2, after=True)
    loading = [asyncio.create_task(made.find(INFO.id)) for _ in range(4)]
    results = await asyncio.gather(*loading, return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}
    assert (await made.find(INFO.id)).id == INFO.id
    await made.aclose()


async def test_idle_sessions_are_evicted_from_memory(sessions: Sessions) -> None:
    session, made = await sessions.enter(INFO.id, owner=None, agent="agent")
    assert made
    await asyncio.sleep(9)
    sessions.sweep(busy=lambda one: False)
    assert len(sessions) == 1
    assert await sessions.find(INFO.id) is session
    await asyncio.sleep(9)
    sessions.sweep(busy=lambda one: False)
    assert len(sessions) == 1, "it was used meanwhile"
    await asyncio.sleep(10)
    sessions.sweep(busy=lambda one: True)
    assert len(sessions) == 1, "a run holds it"
    await asyncio.sleep(10)
    sessions.sweep(busy=lambda one: False)
    assert len(sessions) == 0
    again, made = await sessions.enter(INFO.id, owner=None, agent="agent")
    assert again is not session and not made


async def test_finding_a_session_that_does_not_exist_raises_not_found(sessions: Sessions) -> None:
    with pytest.raises(NotFound):
        await sessions.find("no-session-of-this-name")
