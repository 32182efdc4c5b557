"""The store contract: the search over the sessions of one owner."""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex
from typing import Any, Final

import msgspec

from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.codec import entry
from ..protocol.events import Event
from ..store import SessionInfo, Settled, Store
from .contract_base import EPOCH, StoreFixtures, a_session
from .needs import pytest

HOSTILE: Final = (
    *("", " ", '"', '""', "'", "*", "**", "(", ")", "()", "NEAR", "NEAR(", "AND", "OR", "NOT"),
    *("AND AND", "NEAR(a b, 2)", "words:", "words : x", "-x", "+x", "^x", "x*", "*x", "{", "}"),
    *(
        "x; DROP TABLE session",
        "'; --",
        "\x00",
        "a\x00b",
        "\ud800",
        "%",
        "_",
        "\\",
        "🙂",
        "=",
        "=61",
    ),
    *("=", "=61", "\u0301", "\u200d", "x " * 5000, "x" * 5000, "(" * 5000, '"' * 4999, "search"),
)
"""Queries that mean something to a search engine."""


def said(
    text: str, answer: str | Sequence[str], *more: Event, id: str = "1", ended: bool = True
) -> list[bytes]:
    """The records of a run that answers ``text``; a sequence is an answer in several deltas."""
    run, reply = f"run_{id}", f"reply_{id}"
    user = m.UserMessage(f"msg_{id}", text)
    accepted = e.MessageAccepted(user, "queue")
    given = m.RunAgentInput("s", run, [user])
    deltas = [answer] if isinstance(answer, str) else answer
    events: list[Event] = [
        e.RunStarted("s", run, input=given),
        e.TextMessageStart(reply, "assistant"),
        *(e.TextMessageContent(message_id=reply, delta=delta) for delta in deltas),
        e.TextMessageEnd(reply),
        *more,
        *([e.RunFinished("s", run)] if ended else []),
    ]
    return [entry(accepted).data, *(entry(one, run=run).data for one in events)]


async def owned(store: Store, owner: str, **given: Any) -> SessionInfo:
    info = msgspec.structs.replace(a_session(owner=owner), **given)
    made, _ = await store.create(info, epoch=EPOCH)
    return made


async def hold(store: Store, session: SessionInfo, *runs: list[bytes]) -> None:
    """Appends the runs, settles the log, and lets the store do its work."""
    for events in runs:
        await store.append(session.id, events)
    await settle(store, session)


async def settle(store: Store, session: SessionInfo) -> None:
    end = (await store.head(session.id)).position.seq
    await store.append(session.id, [], settled=Settled(end))
    while await store.maintain():
        pass


async def found(store: Store, owner: str, query: str) -> set[str]:
    return {info.id for info in await store.search(owner, query)}


class SearchRules(StoreFixtures):
    """A session is found by the words of its title and of its messages, by its owner."""

    async def test_a_session_is_found_by_words_of_its_title(self, store: Store) -> None:
        owner = token_hex(8)
        trip = await owned(store, owner, title="Trip to Oslo, in May")
        await owned(store, owner, title="Invoice")
        for query in ("oslo", "OSLO trip", "Os", "may", "to os", "in-may"):
            assert await found(store, owner, query) == {trip.id}, query
        for query in ("slo", "Oslo invoice", "oslos", "may-in"):
            assert await found(store, owner, query) == set(), query

    async def test_a_session_is_found_by_its_new_title_only(self, store: Store) -> None:
        owner = token_hex(8)
        one = await owned(store, owner, title="Oslo")
        two = await owned(store, owner)
        await store.update(one.id, title="Bergen")
        await store.update(two.id, title="Bergen too")
        assert await found(store, owner, "oslo") == set()
        assert await found(store, owner, "bergen") == {one.id, two.id}

    async def test_a_session_is_found_by_words_of_its_messages(self, store: Store) -> None:
        owner = token_hex(8)
        session = await owned(store, owner, title="Money")
        await hold(
            store, session, said("Where is my invoice?", ["Here it ", "is, dear cus", "tomer"])
        )
        await hold(store, session, said("And the refund?", "On Monday", id="2"))
        for query in ("invoice", "customer", "refund", "monday", "inv mon money", "refund where"):
            assert await found(store, owner, query) == {session.id}, query
        for query in ("tomer", "cus invoices", "msg", "run"):
            assert await found(store, owner, query) == set(), query

    async def test_only_what_was_said_is_found(self, store: Store) -> None:
        owner = token_hex(8)
        session = await owned(store, owner)
        more: list[Event] = [
            e.ToolCallStart("call", "lookup"),
            e.ToolCallArgs(tool_call_id="call", delta='{"secret": 1}'),
            e.ToolCallEnd("call"),
            e.ToolCallResult("result", "call", "hidden"),
            e.Custom("private", "value"),
        ]
        await hold(store, session, said("question", "answer", *more))
        assert await found(store, owner, "question answer") == {session.id}
        for query in ("secret", "hidden", "lookup", "private", "value", "result"):
            assert await found(store, owner, query) == set(), query

    async def test_an_owner_finds_only_their_own_sessions(self, store: Store) -> None:
        ann, bob = f"ann {token_hex(4)}", f"ann {token_hex(4)} *"
        mine, other = await owned(store, ann, title="Oslo"), await owned(store, bob, title="Oslo")
        anonymous, _ = await store.create(
            msgspec.structs.replace(a_session(), title="Oslo"), epoch=EPOCH
        )
        for session in (mine, other, anonymous):
            await hold(store, session, said("Bergen", "fine"))
        for query in ("oslo", "bergen"):
            assert await found(store, ann, query) == {mine.id}
            assert await found(store, bob, query) == {other.id}
            assert await found(store, "", query) == set()

    async def test_what_was_deleted_is_not_found(self, store: Store, peer: Store) -> None:
        owner = token_hex(8)
        session = await owned(store, owner, title="Oslo")
        await hold(store, session, said("Bergen", "fine"))
        await peer.delete(session.id)
        assert await found(store, owner, "oslo") == await found(store, owner, "bergen") == set()

    async def test_cleared_messages_are_not_found_from_then_on(
        self, store: Store, peer: Store
    ) -> None:
        owner = token_hex(8)
        session = await owned(store, owner, title="Oslo")
        await hold(store, session, said("Bergen", "fine"))
        await store.append(session.id, said("Malmö", "cold", id="2"))
        await peer.append(session.id, [entry(e.HistoryCleared()).data])
        assert await found(store, owner, "bergen") == set()
        await hold(store, session, said("Göteborg", "windy", id="3"))
        for query in ("bergen", "malmo", "cold"):
            assert await found(store, owner, query) == set(), query
        for query in ("goteborg", "oslo"):
            assert await found(store, owner, query) == {session.id}, query

    async def test_only_messages_in_view_are_found(self, store: Store) -> None:
        owner = token_hex(8)
        session = await owned(store, owner)
        await hold(store, session, said("Bergen", "fine"))
        view: list[m.Message] = [m.UserMessage("msg_9", "Hamar")]
        await hold(store, session, said("Oslo", "big", e.MessagesSnapshot(view), id="2"))
        assert await found(store, owner, "hamar") == {session.id}
        assert await found(store, owner, "bergen") == await found(store, owner, "big") == set()

    async def test_a_withdrawn_message_is_not_found(self, store: Store) -> None:
        owner = token_hex(8)
        session = await owned(store, owner)
        accepted = e.MessageAccepted(m.UserMessage("m1", "Bergen"), "queue")
        withdrawn = e.MessageWithdrawn("m1", "withdrawn")
        await hold(store, session, [entry(accepted).data, entry(withdrawn).data])
        assert await found(store, owner, "bergen") == set()

    @pytest.mark.parametrize(
        ("text", "query"),
        [
            ("Grüße aus Zürich", "grusse zurich"),
            ("STRASSE", "straße"),
            ("Ελλάδα", "ελλαδα"),
            ("İstanbul", "istanbul"),
            ("你好世界", "世界"),
            ("東京タワー", "京タ"),
            ("한국어", "한국"),
            ("नमस्ते दुनिया", "दुनि"),
            ("สวัสดีชาวโลก", "ชาว"),
            ("order #42/2024", "42/20"),
            ("𝕱𝖆𝖓𝖈𝖞", "fancy"),
            ("𞤀𞤣𞤤𞤢𞤥", "𞤀𞤣"),
            ("snake_case_name", "case"),
        ],
    )
    async def test_words_of_any_language_are_found(
        self, store: Store, text: str, query: str
    ) -> None:
        owner = token_hex(8)
        titled = await owned(store, owner, title=text)
        spoken = await owned(store, owner)
        await hold(store, spoken, said(text, "fine"))
        assert await found(store, owner, query) == {titled.id, spoken.id}
        assert await found(store, owner, f"{query} missing") == set()

    @pytest.mark.parametrize("query", HOSTILE, ids=range(len(HOSTILE)))
    async def test_any_text_is_a_query(self, store: Store, query: str) -> None:
        owner = token_hex(8)
        await owned(store, owner, title="and or not near words")
        await store.search(owner, query)

    async def test_a_query_without_words_finds_nothing(self, store: Store) -> None:
        owner = token_hex(8)
        await owned(store, owner, title="Oslo")
        for query in ("", " ", "*", "🙂", "\u0301", '"'):
            assert await found(store, owner, query) == set()

    async def test_sessions_that_match_are_listed_last_updated_first_in_pages(
        self, store: Store
    ) -> None:
        owner = token_hex(8)
        made = [await owned(store, owner, title="Oslo", updated=float(n % 3 + 1)) for n in range(7)]
        order = sorted(made, key=lambda info: (info.updated, info.id), reverse=True)
        listed: list[SessionInfo] = []
        before = None
        while page := await store.search(owner, "oslo", before=before, limit=3):
            listed += page
            before = page[-1].updated, page[-1].id
        assert listed == order
        await owned(store, owner, title="Bergen")
        assert list(await store.search(owner, "oslo", limit=100)) == order
