"""What a search over sessions matches: words of titles, and of the messages of all branches.

A store searches as these functions say, so that every store finds the same. A word is a run of
letters and digits, compared without case and accents. In scripts that put no spaces between words
every character is a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from .codec import Record, event_type
from .fold import Fold
from .gateway_events import BRANCHED, CLEARED
from .messages import AssistantMessage, Message, UserMessage, text_of

MOST_TERMS: Final = 8
"""The terms of a query that count, the first ones."""
_REPLACING: Final = frozenset({CLEARED, "MESSAGES_SNAPSHOT"})
"""Events after which no earlier message is in view, unless they contain it."""
_WORD: Final = re.compile(r"[^\W_]+")
_WITHOUT_SPACES: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\U00020000-\U0003ffff]"
)
"""Thai, Lao, Burmese, Khmer, kana and ideographs."""

Words = Sequence[str]


def words_of(text: str) -> list[str]:
    """The words of ``text``, in order."""
    if text.isascii():
        return _WORD.findall(text.lower())
    folded = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(char for char in folded if not unicodedata.category(char).startswith("M"))
    return _WORD.findall(_WITHOUT_SPACES.sub(r" \g<0> ", plain))


def terms_of(query: str) -> list[Words]:
    """The terms of a query: each is a sequence of words, of which the last may be incomplete.

    A session matches if each term is in its title or in a message. Without any term, none matches.
    """
    found: dict[tuple[str, ...], None] = {}
    for part in query.split():
        if words := words_of(part):
            found[tuple(words)] = None
        if len(found) == MOST_TERMS:
            break
    return list(found)


def contains(words: Words, term: Words) -> bool:
    """Whether the words of ``term`` are in ``words``, one after the other."""
    *whole, start = term
    for at in range(len(words) - len(whole)):
        end = at + len(whole)
        if words[end].startswith(start) and list(words[at:end]) == whole:
            return True
    return False


class Found(NamedTuple):
    """What a part of a log adds to the index of its session."""

    messages: list[Words]
    replaces: bool
    """Whether what was indexed of the log before is not in view any more."""


def searchable(records: Iterable[Record]) -> Found:
    """The words of the messages in a part of a log that begins and ends where no run is active.

    Those of other branches too: people can go back to them, so they are to be found.
    """
    kept = [record for record in records if event_type(record.data) != BRANCHED]
    replaces = any(event_type(record.data) in _REPLACING for record in kept)
    said = _said(Fold().apply_all(kept).messages)
    return Found([words for words in map(words_of, said) if words], replaces)


def _said(messages: Iterable[Message]) -> Iterator[str]:
    for message in messages:
        match message:
            case UserMessage():
                yield text_of(message.content)
            case AssistantMessage(content=str(text)):
                yield text
