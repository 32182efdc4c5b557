"""The agents of one node that wait in memory for answers, see :class:`.asking.AskingRun`."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from typing import Final, NamedTuple

from ..limits import Limits
from ..sessions.session import Session
from .asking import AskingRun

logger: Final = logging.getLogger("agentws.run")


class _Parked(NamedTuple):
    session: Session
    run: AskingRun


class Parking:
    """Waiting agents by the run that asked: at most ``Limits.max_parked``, for ``Limits.park``."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parked: dict[str, _Parked] = {}

    def __len__(self) -> int:
        return len(self._parked)

    def holds(self, session: Session) -> bool:
        """Whether an agent of the session waits here."""
        return any(one.session is session for one in self._parked.values())

    def add(self, session: Session, asked: str, run: AskingRun) -> None:
        """Keeps the agent of the run that asked; the oldest one is let go if there are too many."""
        self._parked[asked] = _Parked(session, run)
        run.timer = asyncio.get_running_loop().call_later(
            self._limits.park, self._let_go, asked, context=Context()
        )
        if len(self._parked) > self._limits.max_parked:
            self._let_go(next(iter(self._parked)))

    def resumable(self, session: Session) -> bool:
        """Whether the agent waits here that goes on with the answers of the next run."""
        found = self._parked.get(_next_asked(session))
        return found is not None and found.session is session

    def take(self, session: Session) -> tuple[str, AskingRun]:
        """Removes that agent, and returns it with the run that asked."""
        asked = _next_asked(session)
        run = self._parked.pop(asked).run
        run.stop_timer()
        return asked, run

    def check(self, session: Session) -> None:
        """Lets agents go whose questions are not open any more, as after a ``/clear``."""
        if not self._parked:
            return
        outline = session.outline
        ids = [*outline.interrupts, *outline.answers]
        waiting = {outline.asked.get(id) for id in ids}
        for asked, one in list(self._parked.items()):
            if one.session is session and asked not in waiting:
                self._let_go(asked)

    def let_go(self, session: Session | None = None) -> None:
        """Lets all agents go that wait here, or those of one session."""
        for asked, one in list(self._parked.items()):
            if session is None or one.session is session:
                self._let_go(asked)

    def _let_go(self, asked: str) -> None:
        run = self._parked.pop(asked).run
        run.stop_timer()
        logger.info("run %s: its agent waits no longer, and is called again for the answer", asked)
        run.let_go()


def _next_asked(session: Session) -> str:
    """The run whose questions the next run has the answers to."""
    outline = session.outline
    return outline.asked.get(next(iter(outline.resuming), ""), "")
