"""The slash commands that every session has, whatever its agent declares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from ..agents.commands import PING, Command, CommandContext, CommandRun
from ..agents.factory import Agents, one_of
from ..errors import BadRequest
from ..protocol.messages import AssistantMessage, Message, UserMessage, text_of
from ..sessions.session import Session
from ..store import Appended, Key, Store
from .inbox import Inbox

HISTORY_MESSAGES: Final = 20
"""Messages that ``/history`` shows."""
MAX_REPLY: Final = 16_000
"""The most characters of a reply: it is in no log, so it waits in memory for a slow consumer."""
ELLIPSIS: Final = "\u2026"

Effect = Callable[[Key | None], Awaitable[Appended]]
"""What a command appends, under its idempotency key if it has one."""


class Builtin(NamedTuple):
    """A built-in command: how it replies, and what it appends when it is given these arguments."""

    command: Command
    effect: Callable[[str], Effect | None] | None = None


def builtin_commands(
    session: Session, *, inbox: Inbox, agents: Agents, store: Store
) -> list[Builtin]:
    """The built-in commands of ``session``, but ``/help``; with those that switch agents, if any.

    An effect is decided against the log, see :class:`agentws.runs.inbox.Inbox`.
    """

    def clear(args: str) -> Effect:
        return lambda key: inbox.clear(session, key=key)

    def switch(args: str) -> Effect | None:
        if not args:
            return None
        name = agents.check(args)

        async def switched(key: Key | None) -> Appended:
            done = await inbox.switch_agent(session, name, key=key)
            # Lists of sessions show it. Another switch may have come since.
            await store.update(session.id, agent=session.info.agent)
            return done

        return switched

    commands = [
        Builtin(Command(PING, "Tests the connection", _pong)),
        Builtin(Command("history", "Shows the conversation", show_history)),
        Builtin(Command("clear", "Forgets the conversation", _cleared), clear),
        Builtin(Command("whoami", "Shows the session", show_session)),
    ]
    if len(agents.names) > 1:
        listed = partial(_list_agents, agents, session)
        commands += [
            Builtin(Command("agents", "Lists the agents", listed)),
            Builtin(Command("agent", "Switches to another agent", _switched(agents)), switch),
        ]
    return commands


async def _pong(context: CommandContext, args: str) -> str:
    return "pong"


async def _cleared(context: CommandContext, args: str) -> str:
    return "The conversation was cleared."


async def show_history(context: CommandContext, args: str) -> str:
    messages = await context.history(limit=HISTORY_MESSAGES)
    lines = [line for line in map(_line, messages) if line is not None]
    text = "\n".join(lines[-HISTORY_MESSAGES:]) or "There is no conversation yet."
    # The newest part is kept.
    return text if len(text) <= MAX_REPLY else ELLIPSIS + text[1 - MAX_REPLY :]


def _line(message: Message) -> str | None:
    match message:
        case UserMessage():
            return f"You: {text_of(message.content)}"
        case AssistantMessage(content=str(text)) if text and message.subagent_run_id is None:
            return f"{message.name or 'Agent'}: {text}"
        case _:
            return None


async def show_session(context: CommandContext, args: str) -> str:
    who = "anonymous" if context.identity is None else context.identity.id
    return f"You are {who}, in session {context.session.id}, with {context.session.agent}."


async def _list_agents(agents: Agents, session: Session, context: CommandContext, args: str) -> str:
    """The agents by name; the one that the session has now is marked."""
    now = session.info.agent
    return "\n".join(f"{name} (now)" if name == now else name for name in agents.names)


def _switched(agents: Agents) -> CommandRun:
    async def switched(context: CommandContext, args: str) -> str:
        if not args:
            expected = f"/agent and {one_of(agents.names)}"
            raise BadRequest("There is no name of an agent.", expected=expected)
        return f"You talk to {args} now."

    return switched
