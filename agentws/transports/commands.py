"""Commands over a connection: nothing else that the peer says waits for one of the agent's own."""

from __future__ import annotations

import contextvars
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..agents.commands import Typed
from ..errors import AgentwsError, BadRequest, Internal, TooMany
from ..runs.commands import Answer, Invocation
from .connection import Connection

if TYPE_CHECKING:
    from ..gateway.gateway import AgentGateway

logger: Final = logging.getLogger("agentws")

WAITING: Final = 8
"""Commands of one connection that may wait for the one that runs."""

Say = Callable[[Answer], None]


def check_typed(typed: Typed) -> None:
    """Raises BadRequest for a slash alone."""
    if not typed.name:
        raise BadRequest("There is no command name.", expected="/help for a list")


async def take_command(
    gateway: AgentGateway, connection: Connection, typed: Typed, *, id: str | None, say: Say
) -> None:
    """Answers a command by ``say``: a built-in one in its turn, an agent's own when it is done.

    Those run one after the other; raises TooMany when too many wait, and what refuses a command.
    """
    check_typed(typed)
    # What the log says must not wait for a factory that takes its time.
    connection.uncork_now()
    asked = await gateway.command(connection.session, typed, identity=connection.identity)
    if not asked.own:
        say(await asked.answer(id))
        return
    waiting = connection.commands
    if waiting is None:
        connection.commands = deque([(asked, id, say)])
        gateway.tasks.spawn(
            _answer(connection),
            name=f"commands of {connection.id}",
            context=contextvars.copy_context(),
        )
    elif len(waiting) < WAITING:
        waiting.append((asked, id, say))
    else:
        raise TooMany("The commands before this one are still running.", retry_after=1.0)


async def _answer(connection: Connection) -> None:
    """Answers what waits. Not stopped when the peer leaves: what has begun is finished."""
    try:
        while connection.commands:
            asked, id, say = connection.commands.popleft()
            await _answer_one(connection, asked, id, say)
    finally:
        connection.commands = None


async def _answer_one(connection: Connection, asked: Invocation, id: str | None, say: Say) -> None:
    try:
        say(await asked.answer(id))
    except AgentwsError as error:
        connection.send_error(error, reply=id)
    except Exception:
        logger.exception("a command could not be answered")
        connection.send_error(Internal(), reply=id)
