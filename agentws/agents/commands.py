"""Slash commands: what a user types after a slash, answered without the model.

A command never starts a run, and its reply is no part of the conversation.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, NamedTuple

from ..errors import UnknownCommand
from ..protocol.text import plain
from .context import SessionContext


class CommandContext(SessionContext):
    """What a command is given: the session, and in ``identity`` who typed the command."""

    __slots__ = ()


CommandRun = Callable[[CommandContext, str], Awaitable[str]]
"""Answers a command: gets the context and what followed the name; returns what to show."""


class Command(NamedTuple):
    """One command of an agent: its name without the slash, one line for ``/help``, its function."""

    name: str
    summary: str
    run: CommandRun


class Typed(NamedTuple):
    """A command as a user typed it."""

    name: str
    args: str


PING: Final = "ping"


def parse_command(text: str) -> Typed | None:
    """The command in ``text``; ``None`` for a message to the agent.

    A command begins with ``/``, or is the bare word ``ping``. ``//text`` is a message.
    """
    if text.strip() == PING:
        return Typed(PING, "")
    if not text.startswith("/") or text.startswith("//"):
        return None
    name, _, args = text[1:].partition(" ")
    return Typed(name.strip(), args.strip())


def unescape(text: str) -> str:
    """``//text`` sends ``/text`` to the agent."""
    return text[1:] if text.startswith("//") else text


def checked_commands(made: object) -> tuple[Command, ...]:
    """The commands that an agent's ``commands`` method returned, checked.

    Raises TypeError for anything else, and ValueError for a name that can't be typed: users would
    take this mistake of the agent's author for an unknown command.
    """
    if isinstance(made, str | Mapping) or not isinstance(made, Iterable):
        raise TypeError(f"commands returned {type(made).__name__}; expected a list of Command")
    return tuple(_declared(one) for one in made)


def _declared(command: object) -> Command:
    """``command`` with exact strings, as an enum or a template engine may give others."""
    if not isinstance(command, Command):
        raise TypeError(
            f"commands returned {type(command).__name__} in its list; expected a Command"
        )
    name, summary, run = command
    if not (isinstance(name, str) and isinstance(summary, str) and callable(run)):
        raise TypeError(
            f"the command {name!r} is not valid; expected name: str, summary: str, and run: an "
            "async function that takes a CommandContext and what follows the name"
        )
    if not name or name.startswith("/") or name.split() != [name]:
        raise ValueError(f"the command {name!r} can't be typed; expected a word without its slash")
    return Command(plain(name), plain(summary), run)


def find_command(commands: Iterable[Command], name: str) -> Command:
    """The command of that name; raises UnknownCommand naming the nearest ones."""
    known = {command.name: command for command in commands}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3) or sorted(known)
    listed = ", ".join(f"/{one}" for one in near)
    raise UnknownCommand(f"There is no command /{name[:40]}.", expected=f"one of {listed}")
