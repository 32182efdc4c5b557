"""A log read as a conversation, page by page."""

from __future__ import annotations

import msgspec
import pytest

from agentws.backends.memory import MemoryStore
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.fold import Fold
from agentws.sessions.compaction import compact_run
from agentws.sessions.pages import Page, page_before
from agentws.sessions.session import Session
from agentws.sessions.view import View
from agentws.store import Store
from tests.session.test_session import a_run, note, session_of


async def cleared_session(store: Store, *, older: int) -> tuple[Session, int]:
    """A session of ``older`` runs, a clear (its seq is returned), and one run."""
    session = await session_of(store)
    for number in range(older):
        await a_run(session, number, "answer")
    await session.append([e.HistoryCleared()])
    cleared = session.head.seq
    await a_run(session, older, "answer")
    return session, cleared


@pytest.mark.parametrize("older", [1, 30])
@pytest.mark.parametrize("messages", [1, 2, 10, 100])
async def test_a_page_ends_where_the_history_was_cleared(older: int, messages: int) -> None:
    store = MemoryStore()
    session, _ = await cleared_session(store, older=older)
    page = await page_before(store, session.id, session.head.seq + 1, messages=messages)
    assert [one.id for one in page.messages] == [f"m{older}", f"a{older}"]
    assert page.before is None


@pytest.mark.parametrize("offset", [0, -1, -30])
async def test_a_page_before_the_cleared_history_is_empty(offset: int) -> None:
    """A client may have kept a ``before`` from before the clear."""
    store = MemoryStore()
    session, cleared = await cleared_session(store, older=30)
    for before in (cleared + 1 + offset, cleared + 2):
        page = await page_before(store, session.id, before, messages=10, view=View(cleared))
        assert (page.messages, page.before) == ([], None)


async def test_pages_reach_back_to_where_the_history_was_cleared() -> None:
    store = MemoryStore()
    session, cleared = await cleared_session(store, older=3)
    for number in range(10, 40):
        await a_run(session, number, "answer")
    pages: list[m.Message] = []
    before: int | None = session.head.seq + 1
    while before is not None:
        page = await page_before(store, session.id, before, messages=6, view=View(cleared))
        assert page.messages
        pages[:0] = page.messages
        before = page.before
    assert pages == await session.messages()


async def pages_of(session: Session, *, messages: int) -> list[Page]:
    """All pages, the oldest first."""
    pages: list[Page] = []
    before: int | None = session.head.seq + 1
    while before is not None:
        pages.insert(0, await session.page_before(before, messages=messages))
        before = pages[0].before
    return pages


@pytest.mark.parametrize("first", [0, 1, 40])
@pytest.mark.parametrize("messages", [1, 2, 4, 6, 100])
async def test_every_notice_is_on_exactly_one_page_after_its_message(
    first: int, messages: int
) -> None:
    """Also if one page has all messages exactly, or an older page has notices only."""
    session = await session_of(MemoryStore())
    await session.append([note(number) for number in range(first)])
    for number in range(3):
        await a_run(session, number, "answer")
        await session.append([note(first + number)])
    pages = await pages_of(session, messages=messages)
    notices = [one for page in pages for one in page.notices]
    assert [one.event.content for one in notices] == [str(number) for number in range(first + 3)]
    assert [one.after for one in notices[first:]] == ["a0", "a1", "a2"]
    assert [one.after for one in notices[:first]] == [None] * first


async def test_notices_from_before_the_history_was_cleared_are_on_no_page() -> None:
    session = await session_of(MemoryStore())
    await session.append([note(1), e.HistoryCleared(), note(2)])
    await a_run(session, 1, "answer")
    (page,) = await pages_of(session, messages=2)
    assert [one.event.content for one in page.notices] == ["2"]


async def test_a_run_that_resumes_with_an_answer_is_on_the_page_of_the_run_that_asked() -> None:
    """It may have the result of a tool call of the run that asked."""
    session = await session_of(MemoryStore())
    await a_run(session, 0, "answer")
    asked = m.InterruptOutcome([m.Interrupt("int_1", "approval", tool_call_id="c")])
    question = m.RunAgentInput(session.id, "run_1", [m.UserMessage("m1", "book")])
    asking: list[e.Event] = [
        e.RunStarted(session.id, "run_1", None, None, question),
        e.ToolCallStart("c", "book"),
        e.ToolCallEnd("c"),
        e.RunFinished(session.id, "run_1", None, asked),
    ]
    await session.append(asking, run="run_1")
    await a_run(session, 2, "meanwhile")
    await session.append([e.InterruptAnswered("int_1", "resolved")])
    resume = [m.ResumeEntry("int_1", "resolved")]
    resumed = m.RunAgentInput(session.id, "run_3", [], resume=resume)
    going_on: list[e.Event] = [
        e.RunStarted(session.id, "run_3", None, None, resumed),
        e.ToolCallResult("r", "c", "booked"),
        e.RunFinished(session.id, "run_3"),
    ]
    await session.append(going_on, run="run_3")
    pages = await pages_of(session, messages=2)
    assert [[one.id for one in page.messages] for page in pages] == [
        ["m0", "a0"],
        ["m1", "c", "r", "m2", "a2"],
    ]
    newest = (await pages_of(session, messages=1))[-1]
    assert [one.id for one in newest.messages] == ["m2", "a2"], "too far for so short a page"


async def test_messages_begun_after_a_clear_within_a_run_stay() -> None:
    store = MemoryStore()
    session = await session_of(store)
    await a_run(session, 1, "answer")
    question = m.UserMessage("m2", "question")
    given = m.RunAgentInput(session.id, "run_2", [question])
    start = e.RunStarted(session.id, "run_2", None, None, given)
    await session.append([start, e.TextMessageStart("a2")], run="run_2")
    await session.append([e.HistoryCleared()])
    said: list[e.Event] = [
        e.TextMessageContent(message_id="a2", delta="gone"),
        e.TextMessageEnd("a2"),
        e.TextMessageStart("b2"),
        e.TextMessageContent(message_id="b2", delta="kept"),
        e.TextMessageEnd("b2"),
        e.RunFinished(session.id, "run_2"),
    ]
    await session.append(said, run="run_2")
    page = await page_before(store, session.id, session.head.seq + 1, messages=10)
    assert msgspec.to_builtins(page.messages) == [
        {"role": "assistant", "id": "b2", "content": "kept"}
    ]
    assert page.messages == await session.messages()


async def test_a_client_that_resumes_after_compaction_sees_no_text_twice() -> None:
    store = MemoryStore()
    session = await session_of(store)
    start = e.RunStarted(session.id, "run_1", None, None, None)
    await session.append([start, e.TextMessageStart("a")], run="run_1")
    for delta in ("w", "x"):
        await session.append([e.TextMessageContent(message_id="a", delta=delta)], run="run_1")
    await session.append([note(1)])
    seen = await store.read(session.id)
    place = session.head
    for delta in ("y", "z"):
        await session.append([e.TextMessageContent(message_id="a", delta=delta)], run="run_1")
    ended: list[e.Event] = [e.TextMessageEnd("a"), e.RunFinished(session.id, "run_1")]
    await session.append(ended, run="run_1")
    await compact_run(store, session.id, first=1, last=session.head.seq)
    missed = await store.read(session.id, after=place)
    assert len(missed) == 3
    (said,) = Fold().apply_all([*seen, *missed]).messages
    assert isinstance(said, m.AssistantMessage)
    assert said.content == "wxyz"
