"""Ends questions at their deadline: the node that has the session in memory does, or the next one
that opens it. The end of a connection never does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from typing import Final

from ..errors import AgentwsError, AlreadyAnswered, NotFound, PositionLost
from ..protocol.codec import entry
from ..sessions.session import Session
from ..tasks.tasks import Tasks
from .answering import EXPIRY_DIGEST, answer_key, expiry
from .deciding import Decision, decide
from .ids import ms_of, now_ms

logger: Final = logging.getLogger("agentws.run")

RETRY_SECONDS: Final = 5.0
"""Seconds after which an expiry is tried again that the store could not append."""


class Expiry:
    """The deadlines of the open questions that this node has seen."""

    def __init__(self, *, tasks: Tasks, open_session: Callable[[str], Awaitable[Session]]) -> None:
        self._tasks = tasks
        self._open_session = open_session
        self.sessions: dict[str, dict[str, asyncio.TimerHandle]] = {}
        """The timers by session and question."""

    def __len__(self) -> int:
        return sum(map(len, self.sessions.values()))

    def watch(self, session: Session) -> None:
        """Notes the deadlines of the session's questions. Called when its outline has changed."""
        open, known = session.outline.interrupts, self.sessions.get(session.id)
        if not open and known is None:
            return
        known = known or {}
        for id in known.keys() - open.keys():
            self._forget(session.id, id)
        for id, interrupt in open.items():
            due = interrupt.expires_at
            if due is not None and id not in known:
                self._note(session.id, id, (ms_of(due) - now_ms()) / 1000)

    def _note(self, session: str, interrupt: str, seconds: float) -> None:
        expire = partial(self._expire, session, interrupt)
        timer = asyncio.get_running_loop().call_later(max(seconds, 0.0), expire, context=Context())
        self.sessions.setdefault(session, {})[interrupt] = timer

    def _forget(self, session: str, interrupt: str) -> None:
        timers = self.sessions.get(session, {})
        if interrupt in timers:
            timers.pop(interrupt).cancel()
        if not timers:
            self.sessions.pop(session, None)

    def _expire(self, session: str, interrupt: str) -> None:
        expiring = self._append(session, interrupt)
        self._tasks.spawn(expiring, name=f"expiry of {interrupt}")

    async def _append(self, session: str, interrupt: str) -> None:
        try:
            await expire(await self._open_session(session), interrupt)
        except (NotFound, PositionLost):
            pass  # the session was deleted, or its log was lost
        except AgentwsError as error:
            logger.warning("question %s of %s did not expire yet: %s", interrupt, session, error)
            self._note(session, interrupt, RETRY_SECONDS)
            return
        self._forget(session, interrupt)

    def close(self) -> None:
        for session, timers in list(self.sessions.items()):
            for interrupt in list(timers):
                self._forget(session, interrupt)


async def expire(session: Session, interrupt: str) -> None:
    """Cancels a question as expired, unless it has another outcome by now."""

    def command() -> Decision | None:
        if interrupt not in session.outline.interrupts:
            return None
        key = answer_key(session, interrupt, EXPIRY_DIGEST)
        return Decision(entry(expiry(interrupt)), key=key, conflict=AlreadyAnswered)

    try:
        await decide(session, command)
    except AlreadyAnswered:
        await session.catch_up()
