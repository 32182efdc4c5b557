"""What a provider sends, read without trust, and whether it makes a whole answer.

Providers, and the many servers that speak their protocols, send values that no specification
allows: null for an object, a list for a string, half a character. The SDKs pass most of it on.
What can be read is used, what can't be read is left out, and neither ends an answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ..agents.llm import (
    BROKE_OFF,
    LLMCutOff,
    LLMEmpty,
    LLMError,
    LLMRefused,
    LLMUnavailable,
    speaks_of_credentials,
    status_error,
)
from ..agents.usage import token_count

_LONGEST_REASON: Final = 64
_NO_REASON: Final = ("null", "none")
"""What some servers write for null while an answer goes on."""


def member(value: object, name: str) -> Any:
    """The member of that name, of an SDK's object or of plain JSON; None where there is none."""
    if isinstance(value, dict):
        return value.get(name)
    return getattr(value, name, None)


def entries(value: object) -> Sequence[Any]:
    """``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list | tuple) else ()


class Unicode:
    """Text that comes in pieces, as characters that can be stored.

    A character beyond U+FFFF is two surrogates in JSON, which may come in two pieces: the first is
    held back until the second has come. A surrogate alone becomes U+FFFD; a NUL is dropped.
    """

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def add(self, piece: str) -> str:
        """The characters that are complete with ``piece``; may be empty."""
        if piece.isascii() and not self._half and "\x00" not in piece:
            return piece
        text = self._half + piece.replace("\x00", "")
        cut = len(text) - ("\ud800" <= text[-1:] <= "\udbff")
        self._half = text[cut:]
        return unicode(text[:cut])

    def rest(self) -> str:
        """What stands for a half that its other half never followed."""
        half, self._half = self._half, ""
        return unicode(half)


def unicode(text: str) -> str:
    """``text`` with its surrogates joined in pairs, those alone replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class Endings(NamedTuple):
    """The reasons, in lower case, with which a provider ends an answer.

    A reason that is not listed is one for which the answer is not whole.
    """

    whole: frozenset[str]
    at_limit: frozenset[str]
    refused: frozenset[str]


class Answer:
    """One streamed answer: its text made readable, and a verdict on it once the stream is over."""

    __slots__ = (
        "_endings",
        "_goes_on",
        "_reason",
        "_refusal",
        "_refused",
        "_text",
        "error",
        "instead",
        "said",
    )

    def __init__(self, endings: Endings) -> None:
        self._endings = endings
        self._text = Unicode()
        self._refusal = Unicode()
        self._refused = False
        self._reason: str | None = None
        self._goes_on = False
        self.error: LLMError | None = None
        """What the provider reported in place of more."""
        self.said = False
        """Whether there was any text, other than white space."""
        self.instead = "The model gave no answer."
        """What to say of an answer without text."""

    def say(self, piece: object) -> str:
        """The text to show for a ``piece`` of the answer; empty for what is not text."""
        text = self._text.add(piece) if isinstance(piece, str) else ""
        if not self.said:
            self.said = bool(text.strip())
        if self._reason is not None and text:
            self._goes_on = True
        return text

    def refuse(self, piece: object) -> str:
        """The text to show for a ``piece`` of the sentence with which the model declines."""
        if not isinstance(piece, str) or not piece:
            return ""
        self._refused = True
        return self._refusal.add(piece)

    def fail(self, status: int) -> None:
        """Notes an error that the provider reports in the stream; 0 is none."""
        if status and self.error is None:
            self.error = status_error(status)

    def end(self, reason: object) -> bool:
        """Notes a finish ``reason``, if it is one; returns whether it is that of a whole answer.

        The last one counts, but none overrules one that is known to mean that a part is missing.
        """
        if not reason or reason in _NO_REASON:
            return True
        endings = self._endings
        before = (self._reason or "").lower()
        if before not in endings.at_limit and before not in endings.refused:
            self._reason = reason if isinstance(reason, str) else type(reason).__name__
        return (self._reason or "").lower() in endings.whole

    def survives(self, error: Exception) -> bool:
        """Whether all of the answer had come before ``error``, which reports nothing of it.

        Such as a connection that breaks before the usage. A server that gives a reason with every
        piece has said nothing by it.
        """
        endings, reason = self._endings, (self._reason or "").lower()
        known = reason in endings.whole or reason in endings.at_limit or reason in endings.refused
        silent = member(error, "body") is None and not raised_status(error)
        return known and silent and not self._goes_on

    def rest(self) -> str:
        """The text to show for what was held back, now that nothing more will come."""
        return self._text.rest() + self._refusal.rest()

    def require_whole(self) -> None:
        """Raises the LLMError that says why this is no whole answer, unless it is one."""
        endings = self._endings
        if self.error is not None:
            raise self.error
        if self._reason is None:
            # A proxy that gives up often ends the body politely; only the reason tells.
            raise LLMUnavailable(BROKE_OFF)
        reason = self._reason.lower()
        if self._refused or reason in endings.refused:
            raise LLMRefused
        if reason in endings.at_limit:
            raise LLMCutOff
        if reason not in endings.whole:
            raise LLMCutOff(_cut_off(self._reason))
        if not self.said:
            raise LLMEmpty(self.instead)


THOUGHT_ONLY: Final = "The model thought, but gave no answer."
CALLED_ONLY: Final = "The model called a tool, and gave no answer."


def _cut_off(reason: str) -> str:
    """A sentence that holds the provider's own word."""
    word = "".join(char for char in reason if char.isprintable())[:_LONGEST_REASON]
    return f'The answer was cut off: the provider gave "{word}" as the reason.'


class Counts:
    """Numbers of tokens by name: of each, the newest that could be read."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, usage: object, names: Iterable[str]) -> None:
        """Reads ``names`` from ``usage``: an object, or a list of objects."""
        for name in names:
            for one in entries(usage) or (usage,):
                count = token_count(member(one, name))
                if count is not None:
                    self._counts[name] = count

    def get(self, name: str) -> int | None:
        return self._counts.get(name)

    def total(self, *names: str) -> int | None:
        """The sum of those that are known; None if none of them is."""
        known = [self._counts[name] for name in names if name in self._counts]
        return sum(known) if known else None


_STATUSES: Final = (
    (402, "insufficient_?quota|billing|payment_?required"),
    (413, "context_?length|too_?large|string_above_max_length"),
    (429, "rate_?limit|too_?many_?requests|throttl|resource_?exhausted"),
    (529, "overloaded"),
    (504, "timed?_?out|deadline_?exceeded"),
    (401, "authenti|api_?key"),
    (403, "permission|forbidden"),
    (404, "not_?found"),
    (400, "invalid_?request|bad_?request"),
    (500, "server_?error|internal|unavailable|api_error"),
)
"""The HTTP status that a provider's word for an error stands for; the first that fits."""
_SPECIFIC: Final = _STATUSES[:2]
"""Words that say more than the status that comes with them."""
_LIMITED: Final = r"rate.?limit|too.many.requests|(^|code|error|http|status)\W*429\b"
"""What a sentence says of a rate limit, where nothing else says it."""


def raised_status(error: Exception) -> int:
    """The HTTP status that an exception of an SDK stands for; 0 for what reports none.

    In the middle of a stream its own status is that of a response that began well.
    """
    said = error_status(member(error, "body"))
    for holder in (error, member(error, "response")):
        status = token_count(member(holder, "status_code"))
        if status is not None and 400 <= status < 600:
            # Whatever speaks of credentials may quote them, and no other word overrules that.
            specific = speaks_of_credentials(said) or said in (402, 413)
            return said if specific and not speaks_of_credentials(status) else status
    return said


def retry_after(error: Exception) -> str | None:
    """The header of that name on the response that an exception of an SDK is about."""
    headers = member(member(error, "response"), "headers")
    said = headers.get("retry-after") if isinstance(headers, Mapping) else None
    return said if isinstance(said, str) else None


def error_status(body: object) -> int:
    """The HTTP status that an error in the middle of a stream stands for; 0 if it says none.

    The response began well, so its own status says nothing; providers put a number or a word
    somewhere into the error's body.
    """
    error = _innermost(body)
    if isinstance(error, str):
        return 429 if _said(_LIMITED, error) else 0
    values = [member(error, name) for name in ("status", "status_code", "code", "type")]
    words = [value for value in values if isinstance(value, str)]
    if specific := _status_of(words, _SPECIFIC):
        return specific
    for number in map(token_count, values):
        if number is not None and 400 <= number < 600:
            return number
    if status := _status_of(words, _STATUSES):
        return status
    message = member(error, "message")
    return 429 if isinstance(message, str) and _said(_LIMITED, message) else 0


def _innermost(body: object) -> object:
    """The error itself: some wrap it once more, some in a list."""
    for _ in range(4):
        inner = next(iter(entries(body)), None) or member(body, "error")
        if not inner:
            break
        body = inner
    return body


def _status_of(words: list[str], statuses: Iterable[tuple[int, str]]) -> int:
    said: Iterator[int] = (
        status for status, pattern in statuses if any(_said(pattern, word) for word in words)
    )
    return next(said, 0)


def _said(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE) is not None
