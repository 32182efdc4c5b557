"""Replies to the commands that a user types (``/name``) on one connection.

An agent's own commands run one after the other, and no other frame of the client waits for them.
"""

from __future__ import annotations

import contextvars
import logging
from collections import deque
from typing import Final

import msgspec

from ..errors import AgentwsError, Internal, TooMany
from ..runs.commands import Invocation
from .commands import ClientRequest, reply
from .connection import Connection

logger: Final = logging.getLogger("agentws")

MAX_WAITING: Final = 8
"""Commands of one connection that may wait for the one that runs."""


async def reply_to_command(
    connection: Connection, request: ClientRequest, invocation: Invocation
) -> None:
    """Replies to a built-in command now, and to an agent's own when it is done.

    Raises the refusal of a built-in command, and TooMany when too many of the agent's own wait.
    """
    if not invocation.own:
        await _reply(connection, request, invocation)
        return
    waiting = connection.commands
    if waiting is None:
        connection.commands = deque([(request, invocation)])
        request.service.tasks.spawn(
            _run_queue(connection),
            name=f"commands of {connection.id}",
            context=contextvars.copy_context(),
        )
    elif len(waiting) < MAX_WAITING:
        waiting.append((request, invocation))
    else:
        raise TooMany("The commands before this one are still running.", retry_after=1.0)


async def _run_queue(connection: Connection) -> None:
    """Runs the waiting commands in order. Goes on after a disconnect: a command is not stopped."""
    try:
        while connection.commands:
            request, invocation = connection.commands.popleft()
            await _reply_or_refuse(connection, request, invocation)
    finally:
        connection.commands = None


async def _reply_or_refuse(
    connection: Connection, request: ClientRequest, invocation: Invocation
) -> None:
    try:
        await _reply(connection, request, invocation)
    except AgentwsError as error:
        connection.send_error(error, reply=request.frame.id)
    except Exception:
        logger.exception("a command could not be answered")
        connection.send_error(Internal(), reply=request.frame.id)


async def _reply(connection: Connection, request: ClientRequest, invocation: Invocation) -> None:
    id = request.frame.id
    answer = await invocation.answer(id)
    connection.send_control(reply(request, answer.claimed))
    connection.send_control(msgspec.structs.replace(answer.notice, reply=id))
