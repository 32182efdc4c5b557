"""Pages with a size limit in bytes: large runs are divided into parts without loss."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentws.backends.memory import MemoryStore
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.parts import divide, is_cut
from agentws.protocol.sizes import PAGE
from agentws.sessions.compaction import compact_run
from agentws.sessions.pages import Page
from tests.session.test_session import session_of

from .paging import MIB, call, check, joined, pages_of, result, say, size_of, text

SAID: dict[str, list[e.Event]] = {
    "one text": text("a", "x" * (2 * MIB)),
    "one text of strange characters": text("a", 'é\U0001f600\\"\r\n' * 100_000),
    "several texts": [*text("a", "x" * 90_000), *text("b", "y" * 300_000), *text("c", "z" * 500)],
    "arguments": [*call("c", "x" * 700_000), result("c", "done")],
    "many calls of one message": [
        *text("a", "Let me look."),
        *(one for n in range(60) for one in call(f"c{n}", str(n) * 5000, "a")),
        *(result(f"c{n}", "y" * 8000) for n in range(60)),
    ],
    "large results": [
        *call("c1", "{}"),
        *call("c2", "{}", "c1"),
        result("c1", "x" * 90_000),
        result("c2", "y" * 90_000),
    ],
    "thoughts": [
        e.ReasoningMessageStart("r", "reasoning"),
        e.ReasoningMessageContent(message_id="r", delta="x" * 400_000),
        e.ReasoningMessageEnd("r"),
        e.ReasoningEncryptedValue("message", "r", "sealed"),
        *text("a", "short"),
    ],
    "a text with metadata": [
        e.TextMessageStart("a", name="Ann", metadata={"k": "v" * 1000}),
        e.TextMessageContent(message_id="a", delta="x" * 400_000),
        e.TextMessageEnd("a"),
    ],
    "text with a call": [*text("a", "x" * 400_000), *call("c", "y" * 200_000, "a")],
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID.keys())
@pytest.mark.parametrize("compacted", ["before", "between", "never"])
async def test_a_run_larger_than_a_page_is_divided_into_parts(
    said: list[e.Event], compacted: str
) -> None:
    session = await session_of(MemoryStore())
    await say(session, "r0", text("first", "Hello"))
    first = session.head.seq + 1
    await say(session, "r1", said)
    last = session.head.seq
    if compacted == "before":
        await compact_run(session._store, session.id, first=first, last=last)
    if compacted == "between":
        before = (await session.snapshot(messages=20, size=PAGE)).page.before
        pages = [(await session.snapshot(messages=20, size=PAGE)).page]
        await compact_run(session._store, session.id, first=first, last=last)
        while before is not None:
            pages.append(await session.page_before(before, messages=20, size=PAGE))
            before = pages[-1].before
        assert joined(pages) == await session.messages()
    pages = await check(session, largest=PAGE + 500)
    assert len(pages) > 1
    assert pages[-1].messages[0].id == "question-r0"


async def test_a_cut_message_is_marked_as_cut() -> None:
    session = await session_of(MemoryStore())
    await say(session, "r0", text("a", "x" * (2 * PAGE)))
    newest, middle, oldest = await pages_of(session)
    assert msgspec.to_builtins(newest.messages[0])["metadata"] == {"agentws": {"cut": True}}
    assert [is_cut(page.messages[-1]) for page in (newest, middle, oldest)] == [True, True, False]
    assert [one.id for one in oldest.messages] == ["question-r0", "a"]
    # The newest part is what a client shows first.
    assert PAGE - 1000 < size_of(newest.messages) <= PAGE + 2


async def test_the_last_part_of_a_cancelled_large_run_is_marked_as_cancelled() -> None:
    session = await session_of(MemoryStore())
    stopped = e.RunFinished(session.id, "r0", outcome=m.CancelledOutcome())
    await say(session, "r0", [*text("a", "x" * (2 * PAGE)), stopped], end=False)
    newest = (await pages_of(session))[0]
    marked = {"status": "cancelled", "cut": True}
    assert newest.messages[-1].metadata == {"agentws": marked}
    await check(session)


async def test_a_clear_within_a_large_run_keeps_the_messages_after_it() -> None:
    session = await session_of(MemoryStore())
    await say(session, "r0", text("a", "x" * MIB), end=False)
    await session.append([e.HistoryCleared()])
    for number in range(4):
        pieces = [e.TextMessageContent(message_id="b", delta=str(number) * 90_000)]
        opening = [e.TextMessageStart("b")] if number == 0 else []
        await session.append([*opening, *pieces], run="r0")
    await session.append([e.TextMessageEnd("b"), e.RunFinished(session.id, "r0")], run="r0")
    pages = await check(session)
    assert len(pages) == 3


RESTATED: list[m.Message] = [
    m.UserMessage("q", "?" * 64_000),
    *(m.AssistantMessage(f"a{size}", "x" * size) for size in (95_000, 79_000, 78_000)),
]

FEW_EVENTS: dict[str, tuple[str, list[e.Event]]] = {
    "one large delta": ("?", text("a", "x" * (8 * MIB))),
    "arguments in one event": ("?", call("c", "x" * (2 * MIB))),
    "a large question": ("?" * (2 * MIB), text("a", "x")),
    "messages that the agent restates": ("?" * 64_000, [e.MessagesSnapshot(RESTATED)]),
}


@pytest.mark.parametrize(("question", "said"), FEW_EVENTS.values(), ids=FEW_EVENTS.keys())
async def test_a_large_run_of_few_events_is_divided_without_loss(
    question: str, said: list[e.Event]
) -> None:
    """One event may be larger than a page, by the host's settings."""
    session = await session_of(MemoryStore())
    session.max_event_size = 64 * MIB
    given_ = m.RunAgentInput(session.id, "r1", [m.UserMessage("q", question)])
    started = e.RunStarted(session.id, "r1", None, None, given_)
    await session.append([started, *said, e.RunFinished(session.id, "r1")], run="r1")
    for _ in range(2):
        pages = await pages_of(session)
        assert joined(pages) == await session.messages()
        assert size_of(pages[0].messages) <= PAGE + 1000
        await say(session, "r2", text("last", "Hello"))


NOTES: dict[str, Any] = {"notes": "n" * 200_000}


def with_notes(event: e.Event) -> e.Event:
    return msgspec.structs.replace(event, metadata=NOTES)


NOTED: dict[str, list[e.Event]] = {
    "a text": [with_notes(e.TextMessageStart("a")), *text("a", "x" * 300_000)[1:]],
    "a text of less than a page": [
        with_notes(e.TextMessageStart("a")),
        *text("a", "x" * 60_000)[1:],
    ],
    "reasoning": [
        e.ReasoningStart("r"),
        e.ReasoningMessageStart("r", "reasoning"),
        e.ReasoningMessageContent(message_id="r", delta="x" * 300_000),
        e.ReasoningMessageEnd("r"),
        e.ReasoningEncryptedValue("message", "r", "v" * 200_000),
        e.ReasoningEnd("r"),
    ],
    "a call": [with_notes(e.ToolCallStart("c", "look")), *call("c", "x" * 300_000)[1:]],
    "a call and its message": [
        with_notes(e.TextMessageStart("a")),
        *text("a", "x" * 90_000)[1:],
        with_notes(e.ToolCallStart("c", "look", "a")),
        *call("c", "x" * 90_000)[1:],
    ],
}


@pytest.mark.parametrize("said", NOTED.values(), ids=NOTED.keys())
async def test_text_is_not_on_the_page_that_large_members_of_its_message_fill(
    said: list[e.Event],
) -> None:
    session = await session_of(MemoryStore())
    await say(session, "r1", said)
    await check(session, largest=201_000)


messages_ = st.lists(
    st.one_of(
        st.builds(m.UserMessage, st.just("u"), st.text(max_size=30).map(lambda one: one * 5000)),
        st.builds(
            m.AssistantMessage,
            st.just("a"),
            st.none() | st.text(max_size=30).map(lambda one: one * 9000),
            st.none()
            | st.lists(
                st.builds(
                    m.ToolCall,
                    st.just("c"),
                    st.builds(
                        m.FunctionCall,
                        st.just("look"),
                        st.text(max_size=20).map(lambda one: one * 9000),
                    ),
                ),
                min_size=1,
                max_size=4,
            ),
        ),
        st.builds(m.ReasoningMessage, st.just("r"), st.text(max_size=30).map(lambda s: s * 9000)),
    ),
    max_size=6,
)


@given(said=messages_)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
def test_parts_join_to_the_same_messages_and_depend_only_on_them(said: list[m.Message]) -> None:
    named: list[m.Message] = []
    for number, one in enumerate(said):
        changes: dict[str, object] = {"id": f"{one.id}{number}"}
        if isinstance(one, m.AssistantMessage) and one.tool_calls:
            changes["tool_calls"] = [
                msgspec.structs.replace(call, id=f"c{number}.{at}")
                for at, call in enumerate(one.tool_calls)
            ]
        named.append(msgspec.structs.replace(one, **changes))
    parts = divide(named, PAGE, most=10_000)
    assert joined([Page(part, None) for part in reversed(parts)]) == named
    assert all(size_of(part) <= PAGE + 1000 for part in parts)
    assert divide(named, PAGE, most=10_000) == parts
    for most in (1, 2, len(parts)):
        fewer = divide(named, PAGE, most=most)
        assert len(fewer) <= most
        assert joined([Page(part, None) for part in reversed(fewer)]) == named
        assert all(size_of(part) <= PAGE + 1000 for part in fewer[1:])


@pytest.mark.parametrize("size", [10, 90_000])
async def test_messages_that_steered_are_on_the_pages_where_they_were_taken(size: int) -> None:
    session = await session_of(MemoryStore())
    for number in range(4):
        steered = m.UserMessage(f"steered-{number}", "x" * size)
        await say(
            session,
            f"r{number}",
            [
                *text(f"a{number}", "y" * size),
                e.MessageAccepted(steered, "steer"),
                e.MessageSteered(steered.id, "delivered"),
                *text(f"b{number}", "z" * size),
            ],
        )
    pages = await check(session)
    assert (len(pages) > 1) == (size > 10)
    whole = await session.messages()
    assert [one.id for one in whole[:4]] == ["question-r0", "a0", "steered-0", "b0"]
