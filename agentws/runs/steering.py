"""Steering: messages that reach a run while it is active.

A message is delivered by an append, decided as commands are decided, and its agent gets it after
that: so it is never both delivered and withdrawn. What a run did not take is queued when the run
ends; the outcome is appended before the next run begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Protocol

from ..errors import Fenced, Unavailable
from ..protocol import events as e
from ..protocol.codec import Entry, entry
from ..protocol.messages import UserMessage
from ..sessions.session import Session
from ..store import Lease
from .appending import RETRY_SECONDS
from .deciding import Decision, decide
from .ids import now_ms
from .writer import RunWriter

PAUSE: Final = 0.2
"""Seconds between two tries while the store is unavailable."""


class SteeredRun(Protocol):
    """What steering needs of a run."""

    id: str
    writer: RunWriter
    ending: bool
    abandoned: bool

    def end_text(self) -> None: ...


class Steering:
    """The steering messages of one run, for its agent."""

    __slots__ = ("_closed", "_of", "_run", "_taken", "_waiters")

    def __init__(self, run: SteeredRun) -> None:
        self._run = run
        self._closed = False
        self._of = run.id
        self._taken = 0
        """How many of the messages that were delivered to the run ``_of`` the agent has got."""
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def _session(self) -> Session:
        return self._run.writer.session

    @property
    def _ended(self) -> bool:
        return self._closed or self._run.ending or self._run.abandoned

    async def take(self, most: int | None = None) -> list[UserMessage]:
        """The next messages, at most ``most``; they are delivered when this returns.

        Raises Unavailable, and Fenced if another node has the session.
        """
        outline, run = self._session.outline, self._run
        if self._of != run.id:
            # The agent has waited for answers, and goes on as another run.
            self._of, self._taken = run.id, 0
        waiting = len(outline.delivered) > self._taken
        may_take = outline.steering and outline.run == run.id and not self._ended
        if may_take and not (most and waiting):
            # What is written later follows the message.
            run.end_text()
            await self._deliver(most)
        if self._ended or outline.run != self._of:
            return []
        fresh = list(outline.delivered.values())[self._taken :][:most]
        self._taken += len(fresh)
        return [accepted.message for accepted in fresh]

    async def _deliver(self, most: int | None) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + RETRY_SECONDS
        while True:
            try:
                await self._run.writer.decide(lambda: self._delivery(most))
                return
            except Unavailable:
                # The append may be in the log all the same. It is then found delivered.
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(PAUSE)

    def _delivery(self, most: int | None) -> Decision | None:
        outline, run = self._session.outline, self._run.id
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
        session = self._session
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
        outline = self._session.outline
        if self._ended or (outline.steering and not outline.cancelling):
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def lost(self) -> None:
        """Implements :meth:`agentws.sessions.follower.Follower.lost`."""
        self.close()

    def close(self) -> None:
        """The run ends: nothing more is delivered to it."""
        self._closed = True
        self.ring()


async def append_undelivered(session: Session, lease: Lease | None) -> bool:
    """Appends the outcome of each message that was to steer a run which has ended; returns True.

    Raises Fenced without a lease, and what the store raises. Safe to call again: it then goes on
    from the newest log.
    """
    if lease is None:
        raise Fenced()
    await decide(session, lambda: _outcomes(session), fence=lease.fence)
    return True


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
