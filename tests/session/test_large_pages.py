"""Pages with a size limit in bytes: large runs are divided into parts without loss."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentws.backends.memory import MemoryStore
from agentws.errors import PositionLost
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.codec import Entry, encode_event
from agentws.protocol.merge import cut_delta, split_delta
from agentws.protocol.parts import divide, is_cut
from agentws.protocol.sizes import EVENT, NOTICES, PAGE
from agentws.sessions.compaction import compact_run
from agentws.sessions.pages import Page, page_before
from agentws.sessions.session import Session
from agentws.store import Store
from tests.session.test_session import note, session_of

MIB = 1024 * 1024


def size_of(messages: Sequence[m.Message]) -> int:
    return len(msgspec.json.encode(messages))


async def say(session: Session, run: str, events: list[e.Event], *, end: bool = True) -> None:
    """Appends a run as its writer does: text in several deltas."""
    given_ = m.RunAgentInput(session.id, run, [m.UserMessage(f"question-{run}", "?")])
    every: list[e.Event] = [e.RunStarted(session.id, run, None, None, given_), *events]
    if end:
        every.append(e.RunFinished(session.id, run))
    entries: list[Entry] = []
    for event in every:
        data = encode_event(event, run=run)
        head, text = split_delta(data)
        datas = [data] if head is None else cut_delta(head, text)
        entries += [Entry(one, event, run) for one in datas]
    for at in range(0, len(entries), 20):
        # Without a fence the session checks the sizes that a run would have checked itself.
        await session.append_entries(entries[at : at + 20])


def text(id: str, content: str) -> list[e.Event]:
    delta = e.TextMessageContent(message_id=id, delta=content)
    return [e.TextMessageStart(id), delta, e.TextMessageEnd(id)]


def call(id: str, arguments: str, parent: str | None = None) -> list[e.Event]:
    return [
        e.ToolCallStart(id, "look", parent),
        e.ToolCallArgs(tool_call_id=id, delta=arguments),
        e.ToolCallEnd(id),
    ]


def result(call: str, content: str) -> e.Event:
    return e.ToolCallResult(f"result-{call}", call, content)


async def pages_of(session: Session, size: int = PAGE, messages: int = 20) -> list[Page]:
    """All pages, the newest first."""
    pages = [(await session.snapshot(messages=messages, size=size)).page]
    while (before := pages[-1].before) is not None:
        pages.append(await session.page_before(before, messages=messages, size=size))
    return pages


def joined(pages: Sequence[Page]) -> list[m.Message]:
    """The messages that a client joins from pages, the newest first, as the protocol says."""
    known: list[m.Message] = []
    for page in pages:
        newer = {message.id: message for message in known}
        begun = {one.id for one in page.messages if one.id in newer and is_cut(newer[one.id])}
        older = [
            _join(one, newer[one.id]) if one.id in begun else one
            for one in page.messages
            if one.id in begun or one.id not in newer
        ]
        known = [*older, *(one for one in known if one.id not in begun)]
    return known


def _join(older: m.Message, newer: m.Message) -> m.Message:
    metadata = dict(newer.metadata or {})
    ours = {key: value for key, value in metadata.pop("agentws", {}).items() if key != "cut"}
    if is_cut(older):
        ours["cut"] = True
    if ours:
        metadata["agentws"] = ours
    assert not isinstance(newer, m.ToolMessage | m.ActivityMessage)
    assert type(older) is type(newer)
    both = (older.content, newer.content)
    content = None if both == (None, None) else "".join(str(one or "") for one in both)
    changes: dict[str, object] = {"content": content, "metadata": metadata or None}
    if isinstance(newer, m.AssistantMessage):
        assert isinstance(older, m.AssistantMessage)
        calls = {one.id: one for one in older.tool_calls or ()}
        for one in newer.tool_calls or ():
            before = calls[one.id].function.arguments if one.id in calls else ""
            function = m.FunctionCall(one.function.name, before + one.function.arguments)
            calls[one.id] = msgspec.structs.replace(one, function=function)
        changes["tool_calls"] = list(calls.values()) or None
    return msgspec.structs.replace(newer, **changes)


async def check(session: Session, *, largest: int = PAGE + 2, size: int = PAGE) -> list[Page]:
    pages = await pages_of(session, size)
    assert joined(pages) == await session.messages()
    for page in pages:
        assert size_of(page.messages) <= largest
    return pages


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


async def test_an_active_run_has_no_parts() -> None:
    session = await session_of(MemoryStore())
    await say(session, "r0", text("a", "before"))
    start = session.head.seq
    await say(session, "r1", text("b", "x" * MIB), end=False)
    for before in range(start + 2, session.head.seq):
        page = await session.page_before(before, messages=20, size=PAGE)
        assert [one.id for one in page.messages] == ["question-r0", "a"]
    assert [one.id for one in (await pages_of(session))[0].messages] == ["question-r0", "a"]


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
