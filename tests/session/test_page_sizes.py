"""Which whole runs are on a page with a size limit in bytes."""

from __future__ import annotations

import pytest

from agentws.backends.memory import MemoryStore
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.sizes import PAGE
from agentws.sessions.pages import page_before
from tests.session.test_session import session_of

from .paging import MIB, check, pages_of, say, text


async def test_a_large_run_between_small_ones_leaves_them_on_pages_of_whole_runs() -> None:
    session = await session_of(MemoryStore())
    for number in range(6):
        await say(session, f"r{number}", text(f"a{number}", "x" * (MIB if number == 3 else 10)))
    pages = await check(session)
    assert [one.id for one in pages[0].messages] == ["question-r4", "a4", "question-r5", "a5"]
    assert pages[-1].messages[0].id == "question-r0"


@pytest.mark.parametrize("length", [1000, 20_000, 45_000, 90_000])
async def test_a_page_has_fewer_messages_when_they_are_large(length: int) -> None:
    session = await session_of(MemoryStore())
    for number in range(8):
        await say(session, f"r{number}", text(f"a{number}", "x" * length))
    pages = await check(session)
    assert len(pages[0].messages) // 2 == min(8, PAGE // length)


async def test_the_size_of_deltas_is_counted_by_their_text() -> None:
    """A run has the same size on a page before and after compaction."""
    session = await session_of(MemoryStore())
    words: list[e.Event] = [e.TextMessageContent(message_id="a", delta="word ")] * 5000
    await say(session, "r0", [e.TextMessageStart("a"), *words, e.TextMessageEnd("a")])
    await say(session, "r1", text("b", "short"))
    (page,) = await pages_of(session)
    assert len(page.messages) == 4


async def test_a_page_without_a_size_limit_is_not_cut() -> None:
    """The history for agents is not cut."""
    session = await session_of(MemoryStore())
    await say(session, "r0", text("a", "x" * MIB))
    page = await session.page_before(session.head.seq + 1, messages=20)
    assert page.messages == await session.messages()


async def test_a_size_limit_changes_no_page_of_small_messages() -> None:
    session = await session_of(MemoryStore())
    for number in range(12):
        await say(session, f"r{number}", text(f"a{number}", "answer"))
    before: int | None = session.head.seq + 1
    while before is not None:
        whole = await page_before(session._store, session.id, before, messages=4)
        assert await session.page_before(before, messages=4, size=PAGE) == whole
        before = whole.before


async def test_a_page_ends_before_a_run_whose_question_does_not_fit() -> None:
    session = await session_of(MemoryStore())
    for number in range(3):
        question = m.RunAgentInput(
            session.id, f"r{number}", [m.UserMessage(f"q{number}", "?" * 90_000)]
        )
        start = e.RunStarted(session.id, f"r{number}", None, None, question)
        said = [*text(f"a{number}", "Hello"), e.RunFinished(session.id, f"r{number}")]
        await session.append([start, *said], run=f"r{number}")
    pages = await check(session)
    assert [len(page.messages) for page in pages] == [2, 2, 2]
