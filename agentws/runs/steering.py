"""Steering: messages that reach a run while it is active.

A message is delivered by an append, decided as commands are decided, and its agent gets it after
that: so it is never both delivered and withdrawn. What a run did not take is queued when the run
ends; the outcome is appended before the next run begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from ..errors import Unavailable
from ..protocol import events as e
from ..protocol.codec import Entry, entry
from ..protocol.messages import UserMessage
from ..sessions.session import Session
from .deciding import Decision, decide
from .ids import now_ms
from .writer import RETRY_SECONDS, RunWriter

PAUSE: Final = 0.2
"""Seconds between two tries while the store is unavailable."""


class Steering:
    """The steering messages of one run, for its agent.

    ``end_text`` ends the message that the agent is writing: what it writes later follows the
    steering message.
    """

    __slots__ = ("_end_text", "_ended", "_taken", "_waiters", "_writer")

    def __init__(
        self, writer: RunWriter, *, end_text: Callable[[], None], ended: bool = False
    ) -> None:
        self._writer = writer
        self._end_text = end_text
        self._ended = ended
        self._taken = 0
        """How many of the delivered messages the agent has got."""
        self._waiters: list[asyncio.Future[None]] = []

    def continue_as(self, writer: RunWriter) -> None:
        """The agent goes on in the run of ``writer``, which steering messages reach from now on."""
        self._writer, self._taken = writer, 0

    async def take(self, most: int | None = None) -> list[UserMessage]:
        """The next messages, at most ``most``; they are delivered when this returns.

        Raises Unavailable, and Fenced if another node has the session.
        """
        outline = self._writer.session.outline
        waiting = len(outline.delivered) > self._taken
        if outline.steering and not self._ended and not (most and waiting):
            self._end_text()
            await self._deliver(most)
        if self._ended or outline.run != self._writer.run:
            return []
        fresh = list(outline.delivered.values())[self._taken :][:most]
        self._taken += len(fresh)
        return [accepted.message for accepted in fresh]

    async def _deliver(self, most: int | None) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + RETRY_SECONDS
        while True:
            try:
                await self._writer.decide(lambda: self._delivery(most))
                return
            except Unavailable:
                # The append may be in the log all the same. It is then found delivered.
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(PAUSE)

    def _delivery(self, most: int | None) -> Decision | None:
        outline, run = self._writer.session.outline, self._writer.run
        if self._ended or outline.run != run or outline.cancelling:
            return None
        ids = list(outline.steering)[:most]
        return _decision([_steered(id, "delivered", run=run) for id in ids])

    async def messages(self) -> AsyncIterator[UserMessage]:
        """Yields each message as it comes, until the run ends; it is delivered when it is yielded.

        Raises what :meth:`take` raises.
        """
        while not self._ended:
            for message in await self.take(1):
                yield message
                break
            else:
                await self._wait()

    async def _wait(self) -> None:
        """Returns when there may be more to take, or the run has ended."""
        session = self._writer.session
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if len(self._waiters) == 1:
            session.follow(self)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)
            if not self._waiters:
                session.unfollow(self)

    def ring(self) -> None:
        """Implements :meth:`agentws.sessions.follower.Follower.ring`."""
        outline = self._writer.session.outline
        if self._ended or (outline.steering and not outline.cancelling):
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def lost(self) -> None:
        """Implements :meth:`agentws.sessions.follower.Follower.lost`."""
        self.close()

    def close(self) -> None:
        """The run ends: nothing more is delivered to it."""
        self._ended = True
        self.ring()


async def append_undelivered(session: Session, *, fence: str) -> None:
    """Appends the outcome of each message that was to steer a run which has ended.

    Raises what the store raises. Safe to call again: it then goes on from the newest log.
    """
    await decide(session, lambda: _outcomes(session), fence=fence)


def _outcomes(session: Session) -> Decision | None:
    missed = session.outline.undelivered
    return _decision([_steered(id, "undelivered", why) for id, why in missed.items()])


def not_steered(message: str, reason: str) -> Entry:
    """The outcome of a message that no run can take, appended together with the message."""
    return _steered(message, "undelivered", reason)


def _steered(
    message: str, outcome: e.SteeringOutcome, reason: str | None = None, *, run: str | None = None
) -> Entry:
    return entry(e.MessageSteered(message, outcome, reason, timestamp=now_ms()), run=run)


def _decision(entries: list[Entry]) -> Decision | None:
    return Decision(entries[0], more=entries[1:]) if entries else None
