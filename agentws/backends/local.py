"""The in-process bus."""

from __future__ import annotations

from collections.abc import Callable

from ..bus import Bus, Listener


class LocalBus(Bus):
    """Rings within one process, at once and without loss."""

    scope = "process"
    lossless = True

    def __init__(self) -> None:
        self._listeners: dict[str, dict[object, Listener]] = {}

    def __repr__(self) -> str:
        return f"<LocalBus channels={len(self._listeners)}>"

    def publish(self, channel: str, payload: bytes) -> None:
        for listener in tuple(self._listeners.get(channel, {}).values()):
            listener(channel, payload)

    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        # One listener may subscribe twice, and each subscription ends by itself.
        subscription = object()
        self._listeners.setdefault(channel, {})[subscription] = listener

        def unsubscribe() -> None:
            listeners = self._listeners.get(channel, {})
            listeners.pop(subscription, None)
            if not listeners:
                self._listeners.pop(channel, None)

        return unsubscribe
