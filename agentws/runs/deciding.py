"""Deciding a command against the log that it is appended to (optimistic concurrency control).

The log that a node knows may be behind the store: other nodes append, and so does a run. So an
append carries the end of the log that it was decided on (its expected version), and the store
refuses it when the log has grown since. Then the node reads the new events and decides again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from ..errors import AgentwsError, Conflict, IdempotencyConflict, VersionConflict
from ..protocol.codec import Entry
from ..sessions.command_turn import CommandTurn
from ..sessions.session import Session
from ..store import Appended, Key

RETRY_SECONDS: Final = 5.0
"""Seconds after which a command is refused (retryable), if other appends always come first."""
FIRST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 0.5
"""Seconds of backoff at most, with jitter, before the third decision and before any later one."""
RETRY_AFTER: Final = 1.0
"""Seconds after which the sender of a refused command may try again."""


class Decision(msgspec.Struct, frozen=True):
    """What a command appends."""

    entry: Entry
    key: Key | None = None
    conflict: type[Conflict] = IdempotencyConflict
    """What is raised if ``key`` was used with another body."""
    more: Sequence[Entry] = ()
    """What follows ``entry``, in the same append."""


Command = Callable[[], Decision | None]
"""Decides on what is known of the session now, without waiting. Returns what to append, or ``None``
for nothing; raises an AgentwsError to refuse the command."""


def decide(
    session: Session, command: Command, *, fence: str | None = None
) -> Awaitable[Appended | None]:
    """Appends what ``command`` decides. Decides again if the log has grown since the decision.

    Returns ``None``, or raises the refusal, if that is the decision on the newest log. Raises
    VersionConflict if other appends came first for ``RETRY_SECONDS``, and what an append raises.
    Without a conflict it costs one call of the store. A run's deltas cause no conflict. ``fence``:
    the fencing token, for what only the holder of the lease may append.
    """
    # In a store that never waits, no other command comes between the decision and its append.
    decided = _decide if session.immediate else _decide_in_turn
    return decided(session, command, fence)


async def _decide_in_turn(session: Session, command: Command, fence: str | None) -> Appended | None:
    async with _in_turn(session):
        return await _decide(session, command, fence)


async def _decide(session: Session, command: Command, fence: str | None) -> Appended | None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + RETRY_SECONDS
    pause = 0.0
    while True:
        expect, version = session.head.seq, session.version
        try:
            decision = command()
        except AgentwsError:
            # Refused on the log as known here: final only if it is the newest log.
            await session.catch_up()
            if session.version == version or loop.time() > deadline:
                raise
            continue
        if decision is None:
            await session.catch_up()
            if session.version == version or loop.time() > deadline:
                return None
            continue
        try:
            return await session.append_entries(
                [decision.entry, *decision.more], key=decision.key, expect=expect, fence=fence
            )
        except IdempotencyConflict as error:
            raise decision.conflict() from error
        except VersionConflict as error:
            if loop.time() > deadline:
                raise VersionConflict(retry_after=RETRY_AFTER) from error
        if pause:
            await asyncio.sleep(random.uniform(0, pause))
        pause = min(2 * pause or FIRST_PAUSE, LONGEST_PAUSE)
        await session.catch_up()


@asynccontextmanager
async def _in_turn(session: Session) -> AsyncIterator[None]:
    """Decides the commands of one node one after the other, so that they cause no conflicts."""
    turn = session.turn = session.turn or CommandTurn()
    turn.commands += 1
    try:
        async with turn.lock:
            yield
    finally:
        turn.commands -= 1
        if not turn.commands:
            session.turn = None
