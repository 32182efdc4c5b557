"""The in-process bus."""

from __future__ import annotations

from collections.abc import Callable

from ..bus import Bus, Listener


class LocalBus(Bus):
    """Rings within one process, at once and without loss."""

    scope = "process"
    lossless = True

    def __init__(self) -> None:
        self._subscriptions: dict[str, tuple[_Subscription, ...]] = {}

    def __repr__(self) -> str:
        return f"<LocalBus channels={len(self._subscriptions)}>"

    def publish(self, channel: str, payload: bytes) -> None:
        for subscription in self._subscriptions.get(channel, ()):
            subscription.listener(channel, payload)

    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        subscription = _Subscription(self, channel, listener)
        self._subscriptions[channel] = (*self._subscriptions.get(channel, ()), subscription)
        return subscription

    def end(self, subscription: _Subscription) -> None:
        channel = subscription.channel
        subscriptions = self._subscriptions.pop(channel, ())
        left = tuple(one for one in subscriptions if one is not subscription)
        if left:
            self._subscriptions[channel] = left


class _Subscription:
    """Ends when called. A session in memory holds one, so it is small."""

    __slots__ = ("_bus", "channel", "listener")

    def __init__(self, bus: LocalBus, channel: str, listener: Listener) -> None:
        self._bus = bus
        self.channel = channel
        self.listener = listener

    def __call__(self) -> None:
        self._bus.end(self)
