"""From the exception that an agent raised to the error that its run ends with.

Agents use task groups (of asyncio, anyio or a library), which wrap the exception of a task in an
exception group. A group of exceptions of one kind is treated as one exception of that kind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from ..errors import AgentError, AgentwsError, EventTooLarge, InvalidEvent
from ..protocol import events as e
from ..protocol.events import Event
from ..protocol.frames import Failure, failure, sendable
from ..protocol.messages import TokenUsage, told_in

_failures: Final = msgspec.json.Decoder(Failure)
logger: Final = logging.getLogger("agentws.run")

Stop = Literal["cancelled", "timed_out", "interrupted", "fenced"]
"""Why a run is stopped from outside."""

STOP_ERRORS: Final[dict[Stop, str]] = {
    "timed_out": "The answer took too long.",
    "interrupted": "The answer was interrupted. Please try again.",
}
"""The sentence of each stop that is an error; ``cancelled`` is an outcome."""


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group, in order and at any depth; ``error`` itself if it is no group.

    Without the GeneratorExit that a task group around a ``yield`` adds when its generator is
    closed, unless it is the only one.
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
    """Whether ``error`` is of that kind, or a group of exceptions of that kind alone."""
    return all(isinstance(leaf, kind) for leaf in leaves(error))


def is_cancellation(error: BaseException, task: asyncio.Task[object] | None) -> bool:
    """Whether ``error`` is a cancellation, by ``task`` or by the agent itself, and no failure."""
    return consists_of(error, asyncio.CancelledError) or is_cancelled(error, task)


def is_cancelled(error: BaseException, task: asyncio.Task[object] | None) -> bool:
    """Whether ``error`` comes from a cancellation of ``task`` from outside.

    Such a cancellation takes precedence over other exceptions in the same group.
    """
    cancelled = any(isinstance(leaf, asyncio.CancelledError) for leaf in leaves(error))
    return cancelled and task is not None and task.cancelling() > 0


def error_for_user(error: BaseException) -> AgentwsError | None:
    """The error with a sentence for the user, or the first of a group of such errors; else None.

    Its members have the declared types, even if a class of the agent violates them: one record that
    can't be read would make its whole log unreadable.
    """
    first = next(leaves(error))
    if not isinstance(first, AgentwsError) or not consists_of(error, AgentwsError):
        return None
    return first if _is_sendable(first) else _sendable_error(first)


def _is_sendable(error: AgentwsError) -> bool:
    try:
        sent = failure(error)
        same = _failures.decode(msgspec.json.encode(sent)) == sent
        return same and "\x00" not in sent.code + sent.message and 400 <= error.status < 600
    except Exception:
        return False


def _sendable_error(error: AgentwsError) -> AgentError:
    sent = AgentError(sendable(error.message))
    code = sendable(str(error.code or AgentError.code))
    vars(sent).update(code=code, retryable=bool(error.retryable))
    return sent


def error_for_run(error: BaseException, *, run: str, stopping: bool) -> AgentwsError:
    """The error that the run ends with because of ``error``. Logs what was raised.

    It reveals nothing of an exception that has no sentence for the user.
    """
    known = error_for_user(error)
    if known is None:
        logger.error("run %s: the agent raised", run, exc_info=error)
        return AgentError()
    for leaf in leaves(error):
        _log(leaf, run=run, stopping=stopping)
    return known


def _log(error: BaseException, *, run: str, stopping: bool) -> None:
    """Logs the error; with a traceback of its cause only, if it was raised on purpose."""
    if isinstance(error, InvalidEvent | EventTooLarge | AgentError):
        logger.warning("run %s: %s", run, one_line(error), exc_info=error.__cause__)
    elif not stopping:
        logger.warning("run %s: %s", run, one_line(error), exc_info=error)


def one_line(error: BaseException) -> str:
    """Its text with line breaks and control characters escaped: it may quote what a user said.

    Otherwise that could forge a line of the log, or control the terminal that shows it.
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(error))


def is_current(task: asyncio.Task[object] | None) -> bool:
    """Whether ``task`` runs now. In a coroutine that is closed from outside its own does not."""
    try:
        return task is not None and asyncio.current_task() is task
    except RuntimeError:
        return False  # no event loop runs


def is_closed(error: BaseException, task: asyncio.Task[object] | None) -> bool:
    """Whether ``error`` is raised in a coroutine of ``task`` because that is closed from outside,
    as with an event loop that is gone. The host's code may raise GeneratorExit by itself.
    """
    return isinstance(error, GeneratorExit) and not is_current(task)


def comes_from_outside(error: BaseException, task: asyncio.Task[object] | None) -> bool:
    """Whether ``error`` ends a call of the host's code in ``task`` from outside, and is no failure
    of that code: then it must go through.
    """
    return is_cancelled(error, task) or is_closed(error, task)


async def clear_cancellations(task: asyncio.Task[object] | None) -> None:
    """Clears cancellations that the agent swallowed: they must not cancel the run's end."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        pass
    while task is not None and task.cancelling():
        task.uncancel()


def run_error(code: str, message: str, *, retryable: bool) -> e.RunError:
    """The RUN_ERROR of a failed run. Never refused: a sentence that can't be sent is corrected."""
    return e.RunError(sendable(message), code, metadata={"agentws": {"retryable": retryable}})


def final_error(error: e.RunError) -> e.RunError:
    """The RUN_ERROR of an agent, which is the end: without the word that another attempt follows.

    It may be an event of another gateway that the agent passes on. Clients would wait for ever.
    """
    if e.next_attempt(error) is None:
        return error
    told = {name: value for name, value in told_in(error.metadata).items() if name != "nextAttempt"}
    metadata = {**(error.metadata or {}), "agentws": told}
    return msgspec.structs.replace(error, metadata=metadata)


def with_usage(
    end: Event, usage: Sequence[TokenUsage], check: Callable[[e.RunFinished | e.RunError], None]
) -> Event:
    """``end`` with what was used until then, unless ``check`` raises EventTooLarge for that.

    Of a run that ended well it has the usage already.
    """
    match end:
        case e.RunError() | e.RunFinished(usage=None):
            told = msgspec.structs.replace(end, usage=[*(end.usage or ()), *usage])
        case _:
            return end
    try:
        check(told)
    except EventTooLarge:
        return end
    return told
