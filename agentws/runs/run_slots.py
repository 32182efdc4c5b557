"""The number of runs that may be active at once on one node."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final


class RunSlots:
    """A semaphore whose free slots are taken without a coroutine, and that tells how many are used.

    Tasks that wait get the slots in the order in which they came.
    """

    def __init__(self, size: int) -> None:
        self._size: Final = size
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.taken = 0
        """Slots in use."""

    def take(self) -> bool:
        """Takes a slot if one is free, and nobody waits for it."""
        if self.taken >= self._size or self._waiting:
            return False
        self.taken += 1
        return True

    async def wait(self) -> None:
        """Takes the next slot that is released."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                # The slot was handed over in the same moment: somebody else gets it.
                self.release()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def release(self) -> None:
        """Gives a slot back: to the first that waits, if there is one."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.taken -= 1
