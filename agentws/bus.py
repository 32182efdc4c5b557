"""The bus port: a wake-up signal between nodes (pub/sub), called the bell.

A ring only says "there may be more to read". A lost ring costs latency (one poll interval), never
correctness. So nothing that must not be lost may travel on the bus alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, Literal

Scope = Literal["process", "host", "cluster"]
"""Which nodes share a store, or are reached by a bus: those of one process, one host, or many."""

__all__ = ["GAP", "Bus", "Listener", "Scope"]

GAP: Final = b""
"""The payload that a bus itself delivers after it may have lost messages of a channel: whoever
follows something by it reads again. Nobody publishes it."""
SESSION_CHANNEL: Final = "s:"
"""The prefix of the channel, before a session's id, on which nodes ring when its log has grown. The
payload is the seq of the log's end. A store that rings with an append leaves its own bus nothing to
do, see ``RedisStore``."""
Listener = Callable[[str, bytes], None]
"""Called with the channel and the payload, on the event loop; must not block or raise."""


class Bus(ABC):
    """Carries short messages to every subscriber of a channel: at most once, perhaps late.

    A message published after ``subscribe`` returned reaches the listener unless the bus loses it.
    A bus that notices that it may have lost messages, as after a reconnect, delivers :data:`GAP`.
    Messages of one publisher on one channel keep their order. Publishing never waits for
    listeners, and one slow listener never delays another.
    """

    scope: Scope
    """How far a message reaches."""
    lossless: bool = False
    """True only if a message can't be lost within ``scope``: then followers need not poll."""

    async def open(self) -> None:  # noqa: B027 - a backend without connections has nothing to do
        """Connects. Raises ``Unavailable`` with one clear line if it can't."""

    async def close(self) -> None:  # noqa: B027 - a backend without connections has nothing to do
        """Closes all connections. Closing twice does nothing."""

    @abstractmethod
    def publish(self, channel: str, payload: bytes) -> None:
        """Sends to all current subscribers. Never blocks; never raises for a failed connection."""

    @abstractmethod
    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        """Calls ``listener`` for every later message.

        Returns a function that ends the subscription; calling it again does nothing.
        """


class Subscriptions:
    """The subscriptions of one process, by channel. Every bus delivers to its own ones."""

    __slots__ = ("_by_channel",)

    def __init__(self) -> None:
        self._by_channel: dict[str, tuple[_Subscription, ...]] = {}

    def __len__(self) -> int:
        """How many channels have a subscriber."""
        return len(self._by_channel)

    def has(self, channel: str) -> bool:
        return channel in self._by_channel

    def channels(self) -> tuple[str, ...]:
        return tuple(self._by_channel)

    def deliver(self, channel: str, payload: bytes) -> None:
        """Calls every listener of ``channel``."""
        for subscription in self._by_channel.get(channel, ()):
            subscription.listener(channel, payload)

    def deliver_gap(self) -> None:
        """Tells every listener that messages of its channel may have been lost."""
        for channel in self.channels():
            self.deliver(channel, GAP)

    def add(self, channel: str, listener: Listener) -> Callable[[], None]:
        """What :meth:`Bus.subscribe` returns."""
        subscription = _Subscription(self, channel, listener)
        self._by_channel[channel] = (*self._by_channel.get(channel, ()), subscription)
        return subscription

    def remove(self, subscription: _Subscription) -> None:
        channel = subscription.channel
        left = tuple(one for one in self._by_channel.pop(channel, ()) if one is not subscription)
        if left:
            self._by_channel[channel] = left


class _Subscription:
    """Ends when called. Every session in memory holds one, so it is small."""

    __slots__ = ("_subscriptions", "channel", "listener")

    def __init__(self, subscriptions: Subscriptions, channel: str, listener: Listener) -> None:
        self._subscriptions = subscriptions
        self.channel = channel
        self.listener = listener

    def __call__(self) -> None:
        self._subscriptions.remove(self)
