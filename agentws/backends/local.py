"""The bus within one process."""

from __future__ import annotations

from collections.abc import Callable

from ..bus import Bus, Listener, Subscriptions


class LocalBus(Bus):
    """Calls the listeners of its own process, synchronously and without loss."""

    scope = "process"
    lossless = True

    def __init__(self) -> None:
        self._subscriptions = Subscriptions()

    def __repr__(self) -> str:
        return f"<LocalBus channels={len(self._subscriptions)}>"

    def publish(self, channel: str, payload: bytes) -> None:
        self._subscriptions.deliver(channel, payload)

    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        return self._subscriptions.add(channel, listener)
