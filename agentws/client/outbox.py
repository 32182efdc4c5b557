"""The outbox: requests that the server has not answered yet.

Every new connection resends them until the server replies. The id of a request is its idempotency
key, so a resend is harmless. A request that is not safe to repeat fails with its connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from ..errors import AgentwsError, BadRequest, TooLarge, TooMany
from ..protocol.frames import (
    Accepted,
    AnyClientFrame,
    Command,
    Error,
    Notice,
    Presence,
    Regenerate,
    Send,
    Unsubscribed,
    encode_frame,
)
from ..protocol.strict import check_value, expected_of
from ..protocol.text import with_plain_text
from .backoff import retry_delay
from .errors import Disconnected, refusal

CAPACITY: Final = 1000
"""Requests that may be open at one time."""
MAX_TRIES: Final = 8
"""How often a request is made in all, while the server refuses it as retryable."""
RETRY_BASE: Final = 1.0
"""Seconds: the base of the backoff between these tries."""
LEFT_TO_CALLER: Final = frozenset({"run_active", "queue_full"})
"""Retryable refusals that the caller gets at once: the state of the conversation caused them."""
REFUSED_UNREAD: Final = frozenset({"too_many", "unavailable", "draining"})
"""Refusals of what the server has not begun to handle: any request is safe to retry then."""

Reply = Accepted | Notice | Presence | Unsubscribed


def is_command(frame: AnyClientFrame) -> bool:
    """Whether the server runs it as a command, which is not logged and so not deduplicated.

    The text decides for a message: see "Commands" in the protocol.
    """
    match frame:
        case Command():
            return True
        case Send(content=str(text)):
            return text.strip() == "ping" or (text.startswith("/") and not text.startswith("//"))
        case _:
            return False


def checked_frame(frame: AnyClientFrame) -> AnyClientFrame:
    """``frame`` as JSON has it. Raises BadRequest for what the server would refuse, or get changed.

    An id that is no text would never be answered, even a UUID, which arrives as text. JSON has no
    bytes (they would arrive as base64) and no NaN (it would arrive as ``null``).
    """
    id = frame.message if isinstance(frame, Regenerate) else frame.id
    if not isinstance(id, str):
        given = type(id).__name__
        raise BadRequest(f"This can't be sent: Expected `str`, got `{given}` as an id.")
    value = with_plain_text(frame)
    try:
        checked = msgspec.convert(value, type(frame))
    except msgspec.ValidationError as error:
        expected = expected_of(type(frame))
        raise BadRequest(f"This can't be sent: {error}.", expected=expected) from error
    check_value(value, "message")
    return checked


class Request:
    """One frame to send. ``replied`` gets the server's reply, or the error instead of one."""

    __slots__ = ("id", "repeatable", "replied", "sent", "text", "tries", "wants_notice")

    def __init__(self, id: str, frame: AnyClientFrame, *, repeatable: bool) -> None:
        self.id = id
        # The answer to a command is a notice. The "accepted" frame before it is not enough.
        self.wants_notice = is_command(frame)
        self.text: Final = _encoded(checked_frame(frame))
        self.repeatable = repeatable and not self.wants_notice
        self.sent = False
        self.tries = 0
        self.replied: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        # Reads the exception: a caller need not wait for the reply, and asyncio logs unread ones.
        self.replied.add_done_callback(lambda done: done.cancelled() or done.exception())


def _encoded(frame: AnyClientFrame) -> str:
    try:
        return encode_frame(frame).decode()
    except UnicodeEncodeError as error:
        raise BadRequest(
            "This can't be sent: it has lone surrogates.", expected="whole characters"
        ) from error


class Outbox:
    """The open requests by id, in order. Calls ``ring`` when one can be sent."""

    def __init__(self, *, random: Callable[[], float], ring: Callable[[], None]) -> None:
        self._requests: dict[str, Request] = {}
        self._random = random
        self._ring = ring
        self._pause: asyncio.TimerHandle | None = None
        self.max_message_size: int | None = None

    def __repr__(self) -> str:
        return f"<Outbox {len(self._requests)} open>"

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, id: str) -> bool:
        return id in self._requests

    @property
    def open(self) -> list[asyncio.Future[Reply]]:
        return [request.replied for request in self._requests.values()]

    def add(self, id: str, frame: AnyClientFrame, *, repeatable: bool = True) -> Request:
        """Adds a request for ``frame``. Raises TooMany when ``CAPACITY`` requests are open, and
        BadRequest for a frame that is not valid.

        A command is never ``repeatable``.
        """
        if len(self._requests) >= CAPACITY:
            raise TooMany("Too many messages are unsent.", expected=f"at most {CAPACITY}")
        request = Request(id, frame, repeatable=repeatable)
        self._requests[id] = request
        self._ring()
        return request

    def unsent(self) -> Iterator[str]:
        """The texts to send now, in order. Each counts as sent when it is yielded."""
        if self._pause is not None:
            return
        for request in tuple(self._requests.values()):
            # The caller awaits between two texts, and a request may have failed meanwhile.
            if request.sent or request.id not in self._requests or not self._fits(request):
                continue
            request.sent = True
            yield request.text

    def _fits(self, request: Request) -> bool:
        limit = self.max_message_size
        # A character has at most four bytes, so most texts need no encoding to be measured.
        if limit is None or len(request.text) * 4 <= limit or len(request.text.encode()) <= limit:
            return True
        self._fail(request, TooLarge(expected=f"at most {limit} bytes"))
        return False

    # Replies and refusals

    def answered(self, id: str | None, reply: Reply) -> None:
        request = self._requests.get(id) if id is not None else None
        if request is None or (request.wants_notice and not isinstance(reply, Notice)):
            return
        del self._requests[request.id]
        if not request.replied.done():
            request.replied.set_result(reply)

    def refused(self, error: Error) -> bool:
        """Fails the request that ``error`` refuses, or retries it later. False if none is here."""
        request = self._requests.get(error.reply) if error.reply is not None else None
        if request is None:
            return False
        request.tries += 1
        retryable = error.retryable and error.code not in LEFT_TO_CALLER
        safe = request.repeatable or error.code in REFUSED_UNREAD
        if retryable and safe and request.tries < MAX_TRIES:
            self._retry_later(request, error.retry_after or 0.0)
        else:
            self._fail(request, refusal(error))
        return True

    def _retry_later(self, request: Request, at_least: float) -> None:
        """Pauses all sending meanwhile, so that requests arrive in order."""
        request.sent = False
        if self._pause is not None:
            self._pause.cancel()
        delay = retry_delay(request.tries, self._random, base=RETRY_BASE, at_least=at_least)
        self._pause = asyncio.get_running_loop().call_later(delay, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._ring()

    def connection_lost(self) -> None:
        """Makes sent requests due again, and fails those that must not be repeated."""
        self._end_pause()
        for request in tuple(self._requests.values()):
            if not request.sent:
                continue
            if request.repeatable:
                request.sent = False
            else:
                self._fail(request, Disconnected())

    def fail_sent(self, error: AgentwsError) -> None:
        """Fails the requests that the lost connection has sent."""
        for request in tuple(self._requests.values()):
            if request.sent:
                self._fail(request, error)

    def close(self, error: AgentwsError) -> None:
        self._end_pause()
        for request in tuple(self._requests.values()):
            self._fail(request, error)

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _fail(self, request: Request, error: AgentwsError) -> None:
        self._requests.pop(request.id, None)
        if not request.replied.done():
            request.replied.set_exception(error)
