"""The topics that a chat follows: each goes on from its own position after every reconnect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import msgspec

from ..errors import AgentwsError, Conflict
from ..protocol.codec import decode_event
from ..protocol.frames import (
    Error,
    EventFrame,
    Notice,
    Subscribe,
    Subscribed,
    Unsubscribe,
    encode_frame,
)
from .errors import ChatClosed, refusal
from .mailbox import Mailbox
from .updates import LogEvent, LogReset

RETRY_AFTER: Final = 1.0
"""Seconds until a subscription is asked for again that was refused for now, at least."""
LEFT_TO_CALLER: Final = frozenset({"too_many"})
"""Retryable refusals that the caller gets at once: it follows too many topics, or asks too fast."""

TopicUpdate = LogEvent | LogReset | Notice
"""A post, the word that what was received before is void, or a notice that is not kept."""


class Subscription:
    """One topic that a chat follows: an asynchronous iterator over what is new in it.

    It yields a ``LogEvent`` for each post, once and in order. A ``LogReset`` says that a replay was
    not possible: drop what you have, all posts that are kept follow. A ``Notice`` is not kept. The
    iterator ends when the chat is left, and raises the error when the chat fails, or when the topic
    may not be followed any more.
    """

    def __init__(
        self, topic: str, after: str | None, end: Callable[[Subscription], Awaitable[None]]
    ) -> None:
        self.topic: Final = topic
        self.position = after
        """The last position received. Pass it as ``after`` to resume there in a later chat."""
        self.request: str | None = None
        """The id of the request that was sent on this connection; ``None`` if it is to be sent."""
        self.answered = False
        """Whether the server has answered it on this connection."""
        self.pause: asyncio.TimerHandle | None = None
        self.started: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        # Reads the exception: asyncio logs those that nobody has read.
        self.started.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.updates: Final[Mailbox[TopicUpdate]] = Mailbox()
        self._end = end

    def __repr__(self) -> str:
        return f"<Subscription {self.topic} at {self.position}>"

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> TopicUpdate:
        return await self.updates.__anext__()

    async def unsubscribe(self) -> None:
        """Ends it: the iterator ends after what was received already. Twice does nothing."""
        await self._end(self)


class Topics:
    """The subscriptions of a chat by topic. Calls ``ring`` when one is to be sent."""

    def __init__(self, *, ring: Callable[[], None], new_id: Callable[[], str]) -> None:
        self._ring = ring
        self._new_id = new_id
        self._followed: dict[str, Subscription] = {}
        self._ending: list[str] = []
        """Topics to unsubscribe from whose caller does not wait for the answer."""

    def __repr__(self) -> str:
        return f"<Topics {list(self._followed)}>"

    def follow(self, subscription: Subscription) -> None:
        """Adds it. Raises Conflict if the chat follows that topic already."""
        if subscription.topic in self._followed:
            raise Conflict("This chat follows that topic already.", expected="one subscription")
        self._followed[subscription.topic] = subscription
        self._ring()

    def forget(self, subscription: Subscription, error: AgentwsError | None = None) -> bool:
        """Ends it, with ``error`` if there is one. Returns whether it was followed."""
        if self._followed.get(subscription.topic) is not subscription:
            return False
        del self._followed[subscription.topic]
        _end(subscription, error)
        return True

    def abandon(self, subscription: Subscription) -> None:
        """Ends it for a caller who was cancelled while it waited for the answer."""
        if self.forget(subscription) and subscription.request is not None:
            self._ending.append(subscription.topic)
            self._ring()

    def unsent(self) -> Iterator[str]:
        """The frames to send now. Each counts as sent when it is yielded."""
        ending, self._ending = self._ending, []
        for topic in ending:
            yield encode_frame(Unsubscribe(id=self._new_id(), topic=topic)).decode()
        for one in tuple(self._followed.values()):
            if one.request is None and one.pause is None:
                one.request = self._new_id()
                frame = Subscribe(id=one.request, topic=one.topic, after=one.position)
                yield encode_frame(frame).decode()

    def connection_lost(self) -> None:
        """Makes every subscription due again."""
        self._ending = []
        for one in self._followed.values():
            one.request, one.answered = None, False
            _end_pause(one)

    def end(self, error: AgentwsError) -> bool:
        """Ends all, without an error if the chat was left. Returns whether there were any."""
        ended, self._followed = self._followed, {}
        for one in ended.values():
            _end(one, error)
        return bool(ended)

    # Frames of the server

    def subscribed(self, frame: Subscribed) -> None:
        one = self._followed.get(frame.topic)
        if one is None or frame.reply not in (None, one.request):
            return
        if frame.resume == "snapshot" and one.position is not None:
            one.updates.put_nowait(LogReset(frame.reason))
        one.position, one.answered = frame.after, True
        if not one.started.done():
            one.started.set_result(None)

    def received(self, frame: EventFrame) -> None:
        one = None if frame.topic is None else self._followed.get(frame.topic)
        if one is None or not one.answered:
            return  # it is of a subscription that was ended on this connection
        one.position = frame.id
        try:
            event = decode_event(frame.event)
        except msgspec.ValidationError:
            return  # a type of a newer version
        one.updates.put_nowait(LogEvent(frame.id, None, event))

    def noticed(self, notice: Notice) -> None:
        one = None if notice.topic is None else self._followed.get(notice.topic)
        if one is not None:
            one.updates.put_nowait(notice)

    def refused(self, error: Error) -> bool:
        """Ends the subscription that ``error`` refuses, or retries it. False if none is here."""
        followed = self._followed.values()
        one = next((one for one in followed if one.request == error.reply), None)
        if one is None or error.reply is None:
            return False
        if error.retryable and error.code not in LEFT_TO_CALLER:
            self._retry_later(one, error.retry_after or 0.0)
        else:
            self.forget(one, refusal(error))
        return True

    def _retry_later(self, one: Subscription, at_least: float) -> None:
        def resume() -> None:
            one.pause = None
            self._ring()

        one.request = None
        loop = asyncio.get_running_loop()
        one.pause = loop.call_later(max(at_least, RETRY_AFTER), resume)


def _end(one: Subscription, error: AgentwsError | None) -> None:
    _end_pause(one)
    one.updates.end(None if isinstance(error, ChatClosed) else error)
    if not one.started.done():
        one.started.set_exception(error or Conflict("This subscription was ended."))


def _end_pause(one: Subscription) -> None:
    if one.pause is not None:
        one.pause.cancel()
        one.pause = None
