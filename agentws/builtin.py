"""The commands that every session has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .agents.agent import CommandContext
from .agents.commands import PING, Command, Typed, find_command
from .protocol.frames import Notice
from .protocol.messages import AssistantMessage, Message, UserMessage, text_of
from .runs.inbox import Inbox
from .session import Session

SHOWN: Final = 20
"""Messages that ``/history`` shows."""


async def answer_command(
    typed: Typed,
    *,
    commands: Sequence[Command],
    context: CommandContext,
    session: Session,
    inbox: Inbox,
) -> Notice:
    """What to show for a command; raises UnknownCommand.

    An agent's own command goes before a built-in one of the same name.
    """

    async def ping(context: CommandContext, args: str) -> str:
        return "pong"

    async def help(context: CommandContext, args: str) -> str:
        return "\n".join(f"/{one.name} — {one.summary}" for one in known)

    async def clear(context: CommandContext, args: str) -> str:
        await inbox.clear(session)
        return "The conversation was cleared."

    builtin = (
        Command(PING, "Tests the connection", ping),
        Command("help", "Lists the commands", help),
        Command("history", "Shows the conversation", show_history),
        Command("clear", "Forgets the conversation", clear),
        Command("whoami", "Shows the session", show_session),
    )
    own = {command.name for command in commands}
    known = [*(one for one in builtin if one.name not in own), *commands]
    content = await find_command(known, typed.name).run(context, typed.args)
    metadata: dict[str, Any] = {"command": typed.name}
    if typed.name == "help":
        metadata["commands"] = [{"name": one.name, "summary": one.summary} for one in known]
    return Notice(content=content, level="info", metadata=metadata)


async def show_history(context: CommandContext, args: str) -> str:
    messages = await context.history(limit=SHOWN)
    lines = [line for line in map(_line, messages) if line is not None]
    return "\n".join(lines[-SHOWN:]) or "There is no conversation yet."


def _line(message: Message) -> str | None:
    match message:
        case UserMessage():
            return f"You: {text_of(message.content)}"
        case AssistantMessage(content=str(text)) if text:
            return f"Agent: {text}"
        case _:
            return None


async def show_session(context: CommandContext, args: str) -> str:
    who = "anonymous" if context.identity is None else context.identity.id
    return f"You are {who}, in session {context.session.id}, with {context.session.agent}."
