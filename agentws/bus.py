"""The bus port: a bell between nodes.

The bus only says "look again". Losing every message costs latency (one poll interval), never
correctness; so nothing that matters may travel on it alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from .store import Scope

__all__ = ["Bus", "Listener", "Scope"]

Listener = Callable[[str, bytes], None]
"""Called with the channel and the payload, on the event loop; must not block or raise."""


class Bus(ABC):
    """Carries short messages to every subscriber of a channel, at most once, perhaps late.

    A message published after ``subscribe`` returned reaches the listener unless the bus loses it.
    Messages of one publisher on one channel keep their order. Publishing never waits for
    listeners, and one slow listener never delays another.
    """

    scope: Scope
    """How far a message reaches."""
    lossless: bool = False
    """True only where a message can't be lost within ``scope``: then followers need not poll."""

    async def open(self) -> None:  # noqa: B027 - a backend without connections has nothing to do
        """Connects. Raises ``Unavailable`` with one clear line if it can't."""

    async def close(self) -> None:  # noqa: B027 - a backend without connections has nothing to do
        """Lets go of everything. Closing twice does nothing."""

    @abstractmethod
    def publish(self, channel: str, payload: bytes) -> None:
        """Sends to whoever listens now. Never blocks; never raises for a failing connection."""

    @abstractmethod
    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        """Calls ``listener`` for every later message; returns what ends that (idempotent)."""
