"""A queue for the commands of one session: they are decided one after the other."""

from __future__ import annotations

import asyncio


class CommandTurn:
    """A lock that is held while a command is decided and appended; first come, first served.

    Without it concurrent commands of one node would expect the same version: the store would accept
    one of them, and the others would have to be decided again. It exists only while there are such
    commands, since most sessions have none.
    """

    __slots__ = ("commands", "lock")

    def __init__(self) -> None:
        self.commands = 0
        """How many hold the lock or wait for it."""
        self.lock = asyncio.Lock()
