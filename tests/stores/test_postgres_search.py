"""The search of the PostgreSQL store finds exactly what the rules of the search say."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from secrets import token_hex

import pytest

from agentws.backends.postgres import PostgresStore, search
from agentws.protocol import events as e
from agentws.protocol.codec import entry
from agentws.protocol.search import contains, searchable, terms_of, words_of
from agentws.store import SessionInfo, Settled, Store
from agentws.testing.contract_search import found, hold, owned, said
from agentws.testing.oracle import read_log
from tests.servers.postgres import PostgresServer

from .postgres_schemas import opened

ALPHABET = "a b ab ba abc 1 12 ä Ae 世 界 straße İ e\u0301 x_y -".split()


@pytest.fixture
async def store(postgres: PostgresServer) -> AsyncIterator[PostgresStore]:
    async with opened(postgres.url, "searching") as one:
        yield one


def some_text(chance: random.Random, most: int) -> str:
    glue = (" ", " ", " ", ", ", "-", "")
    words = [chance.choice(ALPHABET) for _ in range(chance.randint(1, most))]
    return "".join(word + chance.choice(glue) for word in words)


async def expected(store: Store, sessions: list[SessionInfo], query: str) -> set[str]:
    """The sessions that match by the pure rules alone."""
    matching = set()
    for session in sessions:
        _, records = await read_log(store, session.id)
        texts = [words_of(session.title or ""), *searchable(records).messages]
        terms = terms_of(query)
        if terms and all(any(contains(text, term) for text in texts) for term in terms):
            matching.add(session.id)
    return matching


async def test_random_queries_find_what_the_rules_say(store: PostgresStore, soak: float) -> None:
    for seed in range(max(1, round(2 * soak))):
        chance = random.Random(seed)
        owner = token_hex(8)
        sessions = []
        for _ in range(8):
            title = some_text(chance, 4) if chance.random() < 0.5 else None
            session = await owned(store, owner, title=title)
            runs = [
                said(some_text(chance, 6), some_text(chance, 12), id=str(run))
                for run in range(chance.randint(0, 3))
            ]
            await hold(store, session, *runs)
            sessions.append(session)
        for _ in range(40):
            query = some_text(chance, 3)
            assert await found(store, owner, query) == await expected(store, sessions, query), query


async def test_a_phrase_is_found_behind_a_thousand_others_with_its_first_word(
    store: PostgresStore,
) -> None:
    """PostgreSQL remembers 256 places of a word."""
    owner = token_hex(8)
    session = await owned(store, owner)
    await hold(store, session, said("go", "the cat " * 1000 + "the zebra"))
    assert await found(store, owner, "the-zebra") == {session.id}
    assert await found(store, owner, "zebra-the") == set()


async def test_words_of_any_length_and_number_are_found(store: PostgresStore) -> None:
    """PostgreSQL indexes words up to 2 kB, and 1 MB of them."""
    owner = token_hex(8)
    long, other = "x" * 5000, "x" * 4999 + "y"
    first, second = await owned(store, owner), await owned(store, owner)
    await hold(store, first, said("go", f"{long} end"))
    many = " ".join(f"word{number}" for number in range(15_000))
    await hold(store, second, said("go", [many[:500_000], many[500_000:]]))
    assert await found(store, owner, long) == {first.id}
    assert await found(store, owner, other) == set()
    assert await found(store, owner, f"{long}-en") == {first.id}
    for number in (0, 7_777, 14_999):
        assert await found(store, owner, f"word{number}") >= {second.id}
    assert await found(store, owner, "word15000") == set()


async def test_a_message_that_is_cleared_while_it_is_indexed_stays_cleared(
    store: PostgresStore,
) -> None:
    owner = token_hex(8)
    session = await owned(store, owner, title="Kept")
    await store.append(session.id, said("secret", "answer"))
    end = (await store.head(session.id)).position.seq
    await store.append(session.id, [], settled=Settled(end))
    read = await store._call(search.due)
    await store.append(session.id, [entry(e.HistoryCleared()).data])
    await store._call(search.index, read)
    while await store.maintain():
        pass
    assert await found(store, owner, "secret") == set()
    assert await found(store, owner, "kept") == {session.id}
