"""What was asked of the server and is not answered yet.

A request goes out again on every new connection until the server has replied to it; its id makes
that harmless. Requests that are not harmless to repeat fail with the connection that carried them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from ..errors import AgentwsError, TooLarge, TooMany
from ..protocol.frames import (
    Accepted,
    AnyClientFrame,
    Command,
    Error,
    Notice,
    Send,
    encode_frame,
)
from .backoff import retry_delay
from .errors import Disconnected, refusal

CAPACITY: Final = 1000
TRIES: Final = 8
"""How often a request that is refused for now is made before its refusal stands."""
RETRY_BASE: Final = 1.0
CALLERS_CHOICE: Final = frozenset({"run_active", "queue_full"})
"""Refusals that speak of the conversation, not of the network: who asked decides what to do."""
BEFORE_RUNNING: Final = frozenset({"too_many", "unavailable", "draining"})
"""Refusals of what the server has not begun with: these alone are harmless to answer by trying
again, whatever was asked."""

Reply = Accepted | Notice


def is_command(frame: AnyClientFrame) -> bool:
    """Whether the server runs it as a command: it then logs nothing and repeats it when asked to.

    A message is one by its text (section 5 of the protocol).
    """
    match frame:
        case Command():
            return True
        case Send(content=str(text)):
            return text.strip() == "ping" or (text.startswith("/") and not text.startswith("//"))
        case _:
            return False


class Request:
    """One frame on its way. ``replied`` ends with the server's word, or with why there is none."""

    __slots__ = ("id", "repeatable", "replied", "sent", "text", "tries", "wants_notice")

    def __init__(self, id: str, frame: AnyClientFrame, *, repeatable: bool) -> None:
        self.id = id
        # What a command says comes as a notice; "accepted" alone is only half of its answer.
        self.wants_notice = is_command(frame)
        self.text: Final = encode_frame(frame).decode()
        self.repeatable = repeatable and not self.wants_notice
        self.sent = False
        self.tries = 0
        self.replied: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        # Nobody has to wait for a reply, so a refusal that nobody reads is no programming error.
        self.replied.add_done_callback(lambda done: done.cancelled() or done.exception())


class Outbox:
    """Requests by id, in the order in which they were made. ``ring`` is called when one can go."""

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
        """Takes up ``frame``. Raises TooMany when too much is open already.

        A command is not ``repeatable``, whatever is said here.
        """
        if len(self._requests) >= CAPACITY:
            raise TooMany("Too many messages are waiting to be sent.")
        request = Request(id, frame, repeatable=repeatable)
        self._requests[id] = request
        self._ring()
        return request

    def to_send(self) -> Iterator[str]:
        """What to put on the wire now, in order; each counts as sent when it is taken."""
        if self._pause is not None:
            return
        for request in tuple(self._requests.values()):
            # Sending takes time, in which a request may have been given up.
            if request.sent or request.id not in self._requests or not self._fits(request):
                continue
            request.sent = True
            yield request.text

    def _fits(self, request: Request) -> bool:
        limit = self.max_message_size
        # A character has at least one byte and at most four: most texts need no encoding here.
        if limit is None or len(request.text) * 4 <= limit or len(request.text.encode()) <= limit:
            return True
        self._fail(request, TooLarge(expected=f"at most {limit} bytes"))
        return False

    # What becomes of a request

    def answered(self, id: str | None, reply: Reply) -> None:
        request = self._requests.get(id) if id is not None else None
        if request is None or (request.wants_notice and not isinstance(reply, Notice)):
            return
        del self._requests[request.id]
        if not request.replied.done():
            request.replied.set_result(reply)

    def refused(self, error: Error) -> bool:
        """Whether the refusal was of a request here; one that may pass is tried again later."""
        request = self._requests.get(error.reply) if error.reply is not None else None
        if request is None:
            return False
        request.tries += 1
        may_pass = error.retryable and error.code not in CALLERS_CHOICE
        harmless = request.repeatable or error.code in BEFORE_RUNNING
        if may_pass and harmless and request.tries < TRIES:
            self._put_off(request, error.retry_after or 0.0)
        else:
            self._fail(request, refusal(error))
        return True

    def _put_off(self, request: Request, at_least: float) -> None:
        """Nothing else goes out meanwhile: what was asked first is to arrive first."""
        request.sent = False
        if self._pause is not None:
            self._pause.cancel()
        delay = retry_delay(request.tries, self._random, base=RETRY_BASE, at_least=at_least)
        self._pause = asyncio.get_running_loop().call_later(delay, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._ring()

    def connection_lost(self) -> None:
        """Makes ready for the next connection."""
        self._end_pause()
        for request in tuple(self._requests.values()):
            if not request.sent:
                continue
            if request.repeatable:
                request.sent = False
            else:
                self._fail(request, Disconnected())

    def fail_sent(self, error: AgentwsError) -> None:
        """Fails what the lost connection had carried."""
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
