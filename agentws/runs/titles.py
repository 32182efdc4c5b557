"""Titles: a session that nobody has named is named once, after a run, by its agent or its message.

The title is decided on the log as a command is: whoever names the session first, or explicitly,
wins. Nothing waits for it. A title that could not be stored is made again after the next run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from ..agents.agent import Agent
from ..agents.context import SessionContext
from ..agents.factory import Agents
from ..auth import Identity
from ..errors import AgentwsError
from ..limits import Limits
from ..protocol import events as e
from ..protocol.attachments import files_of
from ..protocol.bodies import MAX_TITLE
from ..protocol.codec import entry
from ..protocol.fold import STATUS_KEY
from ..protocol.messages import Message, UserMessage, text_of
from ..protocol.titles import title_from
from ..sessions.session import Session
from ..store import Store
from ..tasks.tasks import Tasks
from .deciding import Decision, decide
from .failure import comes_from_outside
from .ids import now_ms

logger: Final = logging.getLogger("agentws.run")


class Titles:
    """Names the sessions that this node runs.

    Only those with an owner: a title is for the owner's list of sessions.
    """

    def __init__(
        self,
        *,
        store: Store,
        agents: Agents,
        limits: Limits,
        tasks: Tasks,
        write_start: Callable[[Session], None],
    ) -> None:
        self._store = store
        self._agents = agents
        self._limits = limits
        self._tasks = tasks
        self._write_start = write_start
        self._naming: set[str] = set()

    def run_ended(self, session: Session, last: int) -> None:
        """Begins to name the session if it has no title; ``last`` is the seq of the run's end."""
        info = session.info
        if info.title is not None or info.owner is None or session.id in self._naming:
            return
        if not self._limits.title_length:
            return
        self._naming.add(session.id)
        self._tasks.spawn(self._name(session, last), name=f"title of {session.id}")

    async def _name(self, session: Session, last: int) -> None:
        try:
            title = await self._made_title(session, last)
            if title is not None:
                await self._keep(session, title)
        except AgentwsError as error:
            logger.info("session %s has no title yet: %s", session.id, error)
        finally:
            self._naming.discard(session.id)

    async def _keep(self, session: Session, title: str) -> None:
        """Stores the title, and appends it to the log, unless the session has one by now."""
        info = await self._store.update(session.id, title=title, keep_title=True)
        if info.title != title:
            return
        named = entry(e.SessionUpdated(title, timestamp=now_ms()))
        self._write_start(session)
        await decide(session, lambda: None if session.info.title else Decision(named))

    async def _made_title(self, session: Session, last: int) -> str | None:
        """The title by the agent, or by the message of the run that ended at the seq ``last``."""
        messages = (await session.page_before(last + 1, messages=1)).messages
        asked = [one for one in messages if isinstance(one, UserMessage)]
        by_message = _titled_by(asked[0], length=self._limits.title_length) if asked else None
        task = asyncio.current_task()
        try:
            async with asyncio.timeout(self._limits.command_timeout):
                agent = await self._agents.make_to_ask(session.info.agent, session.info)
                if type(agent).title is Agent.title:
                    return by_message
                if not _is_answered(messages):
                    return None
                return _checked(await agent.title(_context(session, last))) or by_message
        except BaseException as error:
            # A hook may raise SystemExit: the server must not exit by that.
            if comes_from_outside(error, task):
                raise
            logger.error("the agent of session %s made no title", session.id, exc_info=error)
            return by_message


def _titled_by(message: UserMessage, *, length: int) -> str | None:
    """The title by what the message says, or by its first file."""
    names = [file.name for file in files_of(message)[:1]]
    titles = (title_from(text, length=length) for text in (text_of(message.content), *names))
    return next((title for title in titles if title), None)


def _is_answered(messages: Sequence[Message]) -> bool:
    """Whether no run among these messages was stopped or has failed."""
    return not any(STATUS_KEY in (one.metadata or {}) for one in messages)


def _checked(made: object) -> str | None:
    """The title that an agent's hook returned, as one line; ``None`` for none."""
    if not isinstance(made, str | None):
        raise TypeError(f"title returned {type(made).__name__}; expected str or None")
    return None if made is None else title_from(made, length=MAX_TITLE)


def _context(session: Session, last: int) -> SessionContext:
    async def history(limit: int | None) -> list[Message]:
        if limit is None:
            return await session.messages(through=last)
        return (await session.page_before(last + 1, messages=limit)).messages

    owner = session.info.owner
    identity = None if owner is None else Identity(owner)
    return SessionContext(session=session.info, identity=identity, history=history)
