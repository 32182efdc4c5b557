"""What an agent raised, as the error that its run ends with.

Agents work inside task groups (asyncio's, anyio's, those of a library), which raise a group for
what one of their tasks raised. What is said of an exception is said of a group of nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Final

import msgspec

from ..errors import AgentError, AgentwsError, EventTooLarge, InvalidEvent
from ..protocol.frames import Failure, failure, sayable

_failures: Final = msgspec.json.Decoder(Failure)
logger: Final = logging.getLogger("agentws.run")


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group, in order and however deep; or ``error`` itself if it is none.

    Without the GeneratorExit that a task group around a ``yield`` adds when its generator is
    closed, unless there is nothing else.
    """
    found = list(_leaves(error))
    failed = [leaf for leaf in found if not isinstance(leaf, GeneratorExit)]
    yield from failed or found


def _leaves(error: BaseException) -> Iterator[BaseException]:
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseExceptionGroup):
            waiting += reversed(one.exceptions)
        else:
            yield one


def consists_of(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether ``error`` is of that kind, or a group of nothing else."""
    return all(isinstance(leaf, kind) for leaf in leaves(error))


def is_cancellation(error: BaseException, task: asyncio.Task[object] | None) -> bool:
    """Whether ``error`` is the cancellation of ``task``, or its agent's own, and no failure."""
    return consists_of(error, asyncio.CancelledError) or is_cancelled(error, task)


def is_cancelled(error: BaseException, task: asyncio.Task[object] | None) -> bool:
    """Whether ``error`` comes of a cancellation of ``task`` from outside.

    Such a cancellation goes before what failed along with it.
    """
    cancelled = any(isinstance(leaf, asyncio.CancelledError) for leaf in leaves(error))
    return cancelled and task is not None and task.cancelling() > 0


def on_purpose(error: BaseException) -> AgentwsError | None:
    """The error with a sentence for the user: the first of a group of such errors; else None.

    Its members are of the declared types, whatever a class of the agent's own made of them: one
    record that can't be read would make its whole log unreadable.
    """
    first = next(leaves(error))
    if not isinstance(first, AgentwsError) or not consists_of(error, AgentwsError):
        return None
    return first if _is_sayable(first) else _sayable(first)


def _is_sayable(error: AgentwsError) -> bool:
    try:
        said = failure(error)
        same = _failures.decode(msgspec.json.encode(said)) == said
        return same and "\x00" not in said.code + said.message and 400 <= error.status < 600
    except Exception:
        return False


def _sayable(error: AgentwsError) -> AgentError:
    said = AgentError(sayable(error.message))
    code = sayable(str(error.code or AgentError.code))
    vars(said).update(code=code, retryable=bool(error.retryable))
    return said


def explained(error: BaseException, *, run: str, stopping: bool) -> AgentwsError:
    """What the run ends with because of ``error``, which goes to the log.

    Without a word of what was raised, unless it was raised to be read.
    """
    known = on_purpose(error)
    if known is None:
        logger.error("run %s: the agent raised", run, exc_info=error)
        return AgentError()
    for leaf in leaves(error):
        _log(leaf, run=run, stopping=stopping)
    return known


def _log(error: BaseException, *, run: str, stopping: bool) -> None:
    """What is raised on purpose needs no traceback; what made it so does."""
    if isinstance(error, InvalidEvent | EventTooLarge | AgentError):
        logger.warning("run %s: %s", run, error, exc_info=error.__cause__)
    elif not stopping:
        logger.warning("run %s: %s", run, error, exc_info=error)
