"""Commands of one session, decided one after the other."""

from __future__ import annotations

import asyncio


class CommandTurn:
    """Held by the command that is being decided; the others wait in the order in which they came.

    Without it the commands of one node would conflict with each other: the store would refuse all
    but one, and the others would be decided again. The last command drops it, since most sessions
    have no command under way.
    """

    __slots__ = ("commands", "lock")

    def __init__(self) -> None:
        self.commands = 0
        """How many are being decided, or wait for that."""
        self.lock = asyncio.Lock()
