"""Commands: what a user types after a slash, answered without the model.

A command never starts a run, and what it says is no part of the conversation.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import UnknownCommand

if TYPE_CHECKING:
    from .agent import CommandContext

CommandRun = Callable[["CommandContext", str], Awaitable[str]]
"""Answers a command: gets the context and what followed the name; returns what to show."""


class Command(NamedTuple):
    """One command of an agent: ``/name``, one line for ``/help``, and what it does."""

    name: str
    summary: str
    run: CommandRun


class Typed(NamedTuple):
    """A command as a user typed it."""

    name: str
    args: str


PING: Final = "ping"


def parse_command(text: str) -> Typed | None:
    """The command in ``text``, or ``None`` when it is for the agent.

    Text that begins with ``/`` is one, and the bare word ``ping``; ``//text`` is not.
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


def find_command(commands: Iterable[Command], name: str) -> Command:
    """The command of that name; raises UnknownCommand naming the nearest ones."""
    known = {command.name: command for command in commands}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3) or sorted(known)
    listed = ", ".join(f"/{one}" for one in near)
    raise UnknownCommand(f"There is no command /{name[:40]}.", expected=f"one of {listed}")
