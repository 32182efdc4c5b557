"""Reads a provider's stream defensively, and decides whether the answer is complete.

Providers, and the many servers with their protocols, send values that no specification allows:
null for an object, a list for a string, half a character. The SDKs pass most of it on. What can be
read is used; what can't be read is skipped, and does not fail the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
"""What some servers send instead of null while an answer continues."""
_CALLING: Final = ("tool_calls", "tool_use", "function_call")
"""Finish reasons of an answer that goes on with the results of its calls."""


def member(value: object, name: str) -> Any:
    """A member of an SDK's object or of a JSON object; ``None`` when there is none."""
    if isinstance(value, dict):
        return value.get(name)
    return getattr(value, name, None)


def entries(value: object) -> Sequence[Any]:
    """``value`` if it is a list; otherwise an empty one."""
    return value if isinstance(value, list | tuple) else ()


class Unicode:
    """Joins text that is received in pieces to characters that can be stored.

    A character beyond U+FFFF is a pair of surrogates in JSON, which may be split over two pieces:
    the first one is kept until the second is received. A lone surrogate becomes U+FFFD; NUL is
    dropped.
    """

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def add(self, piece: str) -> str:
        """The text that is complete after ``piece``; may be empty."""
        if piece.isascii() and not self._half and "\x00" not in piece:
            return piece
        text = self._half + piece.replace("\x00", "")
        cut = len(text) - ("\ud800" <= text[-1:] <= "\udbff")
        self._half = text[cut:]
        return unicode(text[:cut])

    def flush(self) -> str:
        """The replacement for a first surrogate whose second one was never received."""
        half, self._half = self._half, ""
        return unicode(half)


def unicode(text: str) -> str:
    """``text`` with surrogate pairs joined and lone surrogates replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class Endings(NamedTuple):
    """A provider's finish reasons, in lower case.

    With a reason that is not listed, an answer is not complete.
    """

    whole: frozenset[str]
    at_limit: frozenset[str]
    refused: frozenset[str]


class Answer:
    """One streamed answer: its text, and after the stream whether the answer is complete."""

    __slots__ = (
        "_endings",
        "_continued",
        "_lost_call",
        "_reason",
        "_refusal",
        "_refused",
        "_text",
        "begun",
        "error",
        "empty_message",
        "has_calls",
        "has_text",
    )

    def __init__(self, endings: Endings) -> None:
        self._endings = endings
        self._text = Unicode()
        self._refusal = Unicode()
        self._refused = False
        self._reason: str | None = None
        self._continued = False
        self._lost_call = False
        self.begun = False
        """Whether the response has begun."""
        self.error: LLMError | None = None
        """The error that the provider reported in the stream."""
        self.has_text = False
        """Whether there was any text other than white space."""
        self.has_calls = False
        """Whether the model called a tool that it was given."""
        self.empty_message = "The model gave no answer."
        """The error message for an answer without text."""

    def add_text(self, piece: object) -> str:
        """The text of a ``piece`` of the answer; empty if it is not text."""
        text = self._text.add(piece) if isinstance(piece, str) else ""
        if not self.has_text:
            self.has_text = bool(text.strip())
        if self._reason is not None and text:
            self._continued = True
        return text

    def add_refusal(self, piece: object) -> str:
        """The text of a ``piece`` of the model's refusal."""
        if not isinstance(piece, str) or not piece:
            return ""
        self._refused = True
        return self._refusal.add(piece)

    def note_call(self) -> None:
        """Records that the answer calls a tool."""
        self.has_calls = True
        self._continued = self._continued or self._reason is not None

    def note_lost_call(self) -> None:
        """Records a call that can't be made: the provider did not say of which tool."""
        self._lost_call = True
        self.empty_message = CALLED_ONLY

    def note_error(self, status: int) -> None:
        """Records an error that the provider reports in the stream; status 0 is none."""
        if status and self.error is None:
            self.error = status_error(status)

    def note_reason(self, reason: object) -> bool:
        """Records a finish ``reason``, if it is one; returns whether it means a complete answer.

        The last reason counts, but none replaces one that means that a part is missing.
        """
        if not reason or reason in _NO_REASON:
            return True
        endings = self._endings
        before = (self._reason or "").lower()
        if before not in endings.at_limit and before not in endings.refused:
            self._reason = reason if isinstance(reason, str) else type(reason).__name__
        return (self._reason or "").lower() in endings.whole

    def complete_before(self, error: Exception) -> bool:
        """Whether the answer was received completely before ``error``.

        For example when the connection breaks before the usage report. The reason of a server that
        sends one with every piece proves nothing.
        """
        endings, reason = self._endings, (self._reason or "").lower()
        known = reason in endings.whole or reason in endings.at_limit or reason in endings.refused
        silent = member(error, "body") is None and not raised_status(error)
        return known and silent and not self._continued

    def flush(self) -> str:
        """The text that was kept back, after the end of the stream."""
        return self._text.flush() + self._refusal.flush()

    def failure(self) -> LLMError | None:
        """The LLMError that says why the answer is not complete; ``None`` if it is."""
        endings = self._endings
        if self.error is not None:
            return self.error
        if self._reason is None:
            # A proxy that gives up often ends the body without an error: only the reason shows it.
            return LLMUnavailable(BROKE_OFF)
        reason = self._reason.lower()
        if self._refused or reason in endings.refused:
            return LLMRefused()
        if reason in endings.at_limit:
            return LLMCutOff()
        if reason not in endings.whole:
            return LLMCutOff(_cut_off(self._reason))
        is_lost = self._lost_call and reason in _CALLING
        if not self.has_calls and (is_lost or not self.has_text):
            return LLMEmpty(self.empty_message)
        return None


LLMErrorOf = Callable[[Exception, int, bool], LLMError]
"""The error for an exception of an SDK or its transport, for its HTTP status (0: it has none), and
for whether the response had begun."""


@contextmanager
def translated_errors(answer: Answer, llm_error: LLMErrorOf) -> Iterator[None]:
    """Raises the LLMError for any exception of an SDK or its transport.

    Raises nothing when the answer was received completely before the exception.
    """
    try:
        yield
    except Exception as error:
        if answer.complete_before(error):
            return
        status = raised_status(error)
        if _quotes_a_header(error):
            raise LLMError(BAD_HEADER) from None
        if not answer.begun and not status and isinstance(error, TypeError | ValueError):
            # The SDK could not encode the request, or it has no key.
            raise LLMError(NOT_SENT) from error
        if _is_refusal(member(error, "body")):
            raise LLMRefused from error
        cause = None if speaks_of_credentials(status) else error
        raise llm_error(error, status, answer.begun) from cause


def _is_refusal(body: object) -> bool:
    error = _innermost(body)
    return any(member(error, name) in _FILTERED for name in ("code", "type"))


def _quotes_a_header(error: BaseException) -> bool:
    """Whether the transport refused a header: its message, or that of a cause, quotes the value."""
    cause: BaseException | None = error
    for _ in range(_DEEPEST_CAUSE):
        if cause is None:
            return False
        if type(cause).__name__ == "LocalProtocolError" and "header" in str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


NOT_SENT: Final = "The request to the model could not be made."
BAD_HEADER: Final = (
    "The request to the model could not be made: one of its headers, such as the API key, "
    "has a character that is not allowed there, for example a line break."
)
_DEEPEST_CAUSE: Final = 16
_FILTERED: Final = ("content_filter", "content_policy_violation", "refusal")
"""Codes of errors of a content filter, which are sent with the status 400 or without one."""
THOUGHT_ONLY: Final = "The model thought, but gave no answer."
CALLED_ONLY: Final = "The model called a tool, and gave no answer."


def _cut_off(reason: str) -> str:
    """A sentence with the provider's own finish reason."""
    word = "".join(char for char in reason if char.isprintable())[:_LONGEST_REASON]
    return f'The answer was cut off: the provider gave "{word}" as the reason.'


class Counts:
    """Token counts by name: the last value of each that could be read."""

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
        """The sum of the known ones; ``None`` if none is known."""
        known = [self._counts[name] for name in names if name in self._counts]
        return sum(known) if known else None


_STATUSES: Final = (
    (402, "insufficient_?quota|current_quota|billing|payment_?required"),
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
"""The HTTP status for a provider's error code: the first pattern that matches."""
_SPECIFIC: Final = _STATUSES[:2]
"""Codes that are more specific than the HTTP status sent with them."""
_TOLD: Final = (
    (402, r"credit balance is too low|insufficient balance"),
    (
        413,
        r"context.?(length|limit|size|window)|(prompt|input) is too long|maximum prompt length"
        r"|input token count",
    ),
)
"""The same for the error's message, where the code says no more than "bad request"."""
_LIMITED: Final = r"rate.?limit|too.many.requests|(^|code|error|http|status)\W*429\b"
"""Matches a message about a rate limit, for errors without a code for it."""


def raised_status(error: Exception) -> int:
    """The HTTP status of an SDK's exception; 0 when it has none.

    For an error in the middle of a stream, the exception's own status is that of the response,
    which began as 200.
    """
    said = error_status(member(error, "body"))
    for holder in (error, member(error, "response")):
        status = token_count(member(holder, "status_code"))
        if status is not None and 400 <= status < 600:
            # A message about credentials may quote them, so that status takes precedence.
            specific = speaks_of_credentials(said) or said in (402, 413)
            return said if specific and not speaks_of_credentials(status) else status
    return said


def retry_after(error: Exception) -> str | None:
    """The ``Retry-After`` header of the response that an SDK's exception is about."""
    headers = member(member(error, "response"), "headers")
    said = headers.get("retry-after") if isinstance(headers, Mapping) else None
    return said if isinstance(said, str) else None


def error_status(body: object) -> int:
    """The HTTP status of an error in the middle of a stream; 0 when it has none.

    The response itself began as 200. Providers put a number or a code somewhere into the error's
    body.
    """
    error = _innermost(body)
    if isinstance(error, str):
        return _status_of([error], _TOLD) or (429 if _matches(_LIMITED, error) else 0)
    values = [member(error, name) for name in ("status", "status_code", "code", "type")]
    words = [value for value in values if isinstance(value, str)]
    message = member(error, "message")
    told = [message] if isinstance(message, str) else []
    if specific := _status_of(words, _SPECIFIC) or _status_of(told, _TOLD):
        return specific
    for number in map(token_count, values):
        if number is not None and 400 <= number < 600:
            return number
    if status := _status_of(words, _STATUSES):
        return status
    return 429 if any(_matches(_LIMITED, one) for one in told) else 0


def _innermost(body: object) -> object:
    """The error object itself: some servers wrap it again, or in a list."""
    for _ in range(4):
        inner = next(iter(entries(body)), None) or member(body, "error")
        if not inner:
            break
        body = inner
    return body


def _status_of(words: list[str], statuses: Iterable[tuple[int, str]]) -> int:
    said: Iterator[int] = (
        status for status, pattern in statuses if any(_matches(pattern, word) for word in words)
    )
    return next(said, 0)


def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE) is not None
