"""The rows of the search index. Triggers keep the FTS5 table the same as table ``passage``.

A row has the words of a title (at seq 0) or of a few messages, separated by spaces, after a word
that stands for the owner: so one lookup finds what is one owner's. Words have letters and digits
only; ``=`` is in no word. Sessions without an owner have no rows, since nobody can search them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from ...protocol.search import Words, words_of

TITLE: Final = 0
"""The seq of the row with the title; those with messages have the seq of their last event."""
_BREAK: Final = "="
"""Between two messages: no term of a query matches across it."""


def owner_word(owner: str) -> str:
    return "=" + owner.encode().hex()


def index_title(connection: sqlite3.Connection, session: str) -> None:
    """Indexes the title that the session has now, instead of the one before."""
    log, owner, title = connection.execute(
        "SELECT log, owner, title FROM session WHERE id = ?", (session,)
    ).fetchone()
    connection.execute("DELETE FROM passage WHERE log = ? AND seq = ?", (log, TITLE))
    if owner is not None and title is not None:
        insert(connection, log, TITLE, owner, [words_of(title)])


def insert(
    connection: sqlite3.Connection, log: int, seq: int, owner: str, messages: Iterable[Words]
) -> None:
    text = f" {_BREAK} ".join(" ".join(words) for words in messages)
    if text:
        connection.execute(
            "INSERT INTO passage (log, seq, words) VALUES (?, ?, ?)",
            (log, seq, f"{owner_word(owner)} {text}"),
        )


def remove_messages(connection: sqlite3.Connection, log: int) -> None:
    connection.execute("DELETE FROM passage WHERE log = ? AND seq > ?", (log, TITLE))


def clear(connection: sqlite3.Connection, cleared: Iterable[Sequence[int]]) -> None:
    """The history of each (log, seq) was cleared: nothing up to there is indexed again."""
    for log, seq in cleared:
        connection.execute("UPDATE session SET indexed = ? WHERE log = ?", (seq, log))
        remove_messages(connection, log)
