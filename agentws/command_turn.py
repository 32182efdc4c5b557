"""Commands of one session, decided one after the other."""

from __future__ import annotations

import asyncio


class CommandTurn:
    """Held by the command that is being decided; the others wait in the order in which they came.

    Commands of one node need not cross each other: each would be refused by the store, and decided
    again. The last one to leave drops it, for most sessions have no command under way.
    """

    __slots__ = ("commands", "lock")

    def __init__(self) -> None:
        self.commands = 0
        """How many are being decided, or wait for that."""
        self.lock = asyncio.Lock()
