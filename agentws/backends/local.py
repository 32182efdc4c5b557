"""The in-process bus."""

from __future__ import annotations

from collections.abc import Callable

from ..bus import Bus, Listener


class LocalBus(Bus):
    """Rings within one process, at once and without loss."""

    scope = "process"
    lossless = True

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}

    def __repr__(self) -> str:
        return f"<LocalBus channels={len(self._listeners)}>"

    def publish(self, channel: str, payload: bytes) -> None:
        for listener in tuple(self._listeners.get(channel, ())):
            listener(channel, payload)

    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        self._listeners.setdefault(channel, []).append(listener)

        def unsubscribe() -> None:
            listeners = self._listeners.get(channel, [])
            if listener in listeners:
                listeners.remove(listener)
            if not listeners:
                self._listeners.pop(channel, None)

        return unsubscribe
