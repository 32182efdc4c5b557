"""Runs slash commands: the built-in ones of every session, and those that an agent declares."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Any, Final, NamedTuple

from ..agents.agent import Agent
from ..agents.commands import Command, CommandContext, Typed, checked_commands, find_command
from ..errors import AgentError, AgentwsError
from ..protocol.frames import Notice, Send
from ..protocol.text import plain
from ..sessions.session import Session
from ..store import Appended
from .builtin import ELLIPSIS, MAX_REPLY, Builtin
from .consulting import consult
from .failure import comes_from_outside, error_for_user
from .inbox import send_key

logger: Final = logging.getLogger("agentws")


class Answer(NamedTuple):
    """The reply to a command."""

    notice: Notice
    claimed: Appended | None = None
    """The append that claimed the command's id; ``None`` for a command that is safe to repeat."""


async def commands_of(making: Awaitable[Agent], *, within: float) -> Sequence[Command]:
    """The commands of the agent that ``making`` returns; raises as :func:`consult` does."""
    return await consult(
        making,
        lambda agent: checked_commands(agent.commands()),
        about="its commands",
        within=within,
    )


class Invocation:
    """One slash command that a user typed, to be run once.

    An agent's command replaces a built-in one of the same name. Raises UnknownCommand.
    """

    def __init__(
        self,
        typed: Typed,
        *,
        commands: Sequence[Command],
        builtin: Sequence[Builtin],
        context: CommandContext,
        session: Session,
        timeout: float,
    ) -> None:
        names = {command.name for command in commands}
        first, *others = [one.command for one in builtin]
        known = [first, Command("help", "Lists the commands", self._help), *others]
        self._known = [*(one for one in known if one.name not in names), *commands]
        self._command = find_command(self._known, typed.name)
        self._typed = typed
        self._context = context
        self._session = session
        self._timeout = timeout
        self.own: Final = typed.name in names
        """Whether the agent declares the command: it may be slow, and have effects."""
        effects = {one.command.name: one.effect for one in builtin if one.effect is not None}
        decide = None if self.own else effects.get(typed.name)
        self._effect = None if decide is None else decide(typed.args)

    async def answer(self, id: str | None) -> Answer:
        """Runs the command. With an ``id``, a command that has effects is run at most once.

        ``id`` is its idempotency key. It is claimed in the log before an agent's command begins,
        and a second command under it is refused with a notice. So a failure of the command is an
        AgentError that is never retryable. Raises RunActive for ``/clear`` during a run.
        """
        known = await self._claim(id) if id is not None else None
        if known is not None and known.duplicate:
            said = "This command was received before; it is not run again."
            return Answer(self._notice(said), known)
        if self.own:
            return Answer(self._notice(await self._run_own()), known)
        if known is None and self._effect is not None:
            await self._effect(None)
        content = await self._command.run(self._context, self._typed.args)
        return Answer(self._notice(content), known)

    async def _claim(self, id: str) -> Appended | None:
        name, args = self._typed
        identity = self._context.identity
        by = None if identity is None else identity.id
        key = send_key(Send(id=id, content=f"/{name} {args}"), by=by)
        if self.own:
            return await self._session.append([], key=key)
        if self._effect is None:
            return None
        # The effect and the claim are one event. A repeated /clear is a duplicate, also in a run.
        return await self._session.find(key) or await self._effect(key)

    async def _run_own(self) -> str:
        name, task = self._typed.name, asyncio.current_task()
        try:
            async with asyncio.timeout(self._timeout) as deadline:
                content = await self._command.run(self._context, self._typed.args)
            if not isinstance(content, str):
                raise TypeError(f"/{name} returned {type(content).__name__}; expected a str")
            content = plain(content)
            # Raises for lone surrogates, which can't be sent.
            content.encode()
        except BaseException as error:
            # A command may raise SystemExit: the server must not exit by that.
            if comes_from_outside(error, task):
                raise
            known = error_for_user(error)
            if known is not None and not known.retryable:
                raise known from known.__cause__
            raise self._failure(error, known, late=deadline.expired()) from error
        return content

    def _failure(
        self, error: BaseException, known: AgentwsError | None, *, late: bool
    ) -> AgentError:
        """The error for the peer; ``late`` if the command's timeout caused ``error``."""
        if known is not None:
            return AgentError(known.message)
        if late:
            logger.warning("the command /%s took more than %s s", self._typed.name, self._timeout)
            return AgentError("The command took too long.")
        logger.error("the command /%s failed", self._typed.name, exc_info=error)
        return AgentError("The command failed.")

    def _notice(self, content: str) -> Notice:
        metadata: dict[str, Any] = {"command": self._typed.name}
        if self._typed.name == "help":
            known = [{"name": one.name, "summary": one.summary} for one in self._known]
            metadata["commands"] = known
        if len(content) > MAX_REPLY:
            content = content[: MAX_REPLY - 1] + ELLIPSIS
        return Notice(content=content, level="info", metadata=metadata)

    async def _help(self, context: CommandContext, args: str) -> str:
        return "\n".join(f"/{one.name} — {one.summary}" for one in self._known)
