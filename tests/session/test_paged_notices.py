"""The notices on pages with a size limit in bytes."""

from __future__ import annotations

from agentws.backends.memory import MemoryStore
from agentws.protocol import events as e
from agentws.protocol.codec import Entry, encode_event
from agentws.protocol.merge import cut_delta, split_delta
from agentws.protocol.sizes import EVENT, NOTICES, PAGE
from agentws.sessions.session import Session
from tests.session.test_session import note, session_of

from .paging import MIB, joined, pages_of, say, size_of, text


async def test_a_notice_is_in_the_part_that_was_written_when_it_was_posted() -> None:
    session = await session_of(MemoryStore())
    await session.append([note(0)])
    await say(session, "r0", text("a", "x" * MIB), end=False)
    await session.append([note(1)])
    await say_more(session, text("b", "y" * MIB))
    await session.append([note(2)])
    pages = await pages_of(session)
    page_of = {one.event.content: index for index, page in enumerate(pages) for one in page.notices}
    assert page_of["2"] == 0
    assert 0 < page_of["1"] < page_of["0"] == len(pages) - 1
    assert sum(len(page.notices) for page in pages) == 3
    for page in pages:
        for one in page.notices:
            assert one.after is None or one.after in [message.id for message in page.messages]


async def say_more(session: Session, events: list[e.Event]) -> None:
    for event in [*events, e.RunFinished(session.id, "r0")]:
        head, inside = split_delta(encode_event(event, run="r0"))
        if head is None:
            await session.append([event], run="r0")
        else:
            cut = cut_delta(head, inside)
            await session.append_entries([Entry(data, event, "r0") for data in cut])


async def test_the_bytes_of_notices_on_a_page_are_bounded_and_the_newest_are_kept() -> None:
    session = await session_of(MemoryStore())
    await say(session, "r0", text("a", "Hello"))
    for number in range(50):
        await session.append([e.NoticePosted(f"{number} " + "x" * 10_000, "info")])
    (page,) = await pages_of(session)
    assert page.notices[-1].event.content.startswith("49 ")
    assert 0 < sum(len(one.event.content) for one in page.notices) <= NOTICES


async def test_a_large_notice_after_a_large_run_is_on_a_page_of_its_own() -> None:
    session = await session_of(MemoryStore())
    await say(session, "r0", text("a", "x" * (2 * PAGE)))
    await session.append([note(1), e.NoticePosted("z" * 250_000, "info")])
    pages = await pages_of(session)
    assert joined(pages) == await session.messages()
    shown = [one.event.content[:1] for page in reversed(pages) for one in page.notices]
    assert shown == ["1", "z"]
    for page in pages:
        notices = sum(len(one.event.content) for one in page.notices)
        assert size_of(page.messages) + notices < EVENT
