"""Calls of tools by an agent: written as events, validated, approved, timed, recorded once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from ..errors import (
    AgentwsError,
    ReplayDiverged,
    ToolArgumentsInvalid,
    ToolDenied,
    ToolError,
)
from ..protocol import events as e
from ..protocol.frames import sendable
from ..protocol.messages import Content, told_in
from .approving import Approved, approved
from .caller import Caller
from .output import RunOutput
from .results import content_of, result_of
from .schemas import encoded
from .steps import Work, canonical
from .tools import Tool

logger: Final = logging.getLogger("agentws.run")

STOPPED: Final = "The call was stopped."

_ERRORS: Final[dict[str, type[ToolError]]] = {
    error.code: error for error in (ToolError, ToolArgumentsInvalid, ToolDenied)
}


class Call(NamedTuple):
    """One call: its tool, its id and step, and its arguments as JSON."""

    tool: Tool[..., Any]
    id: str
    step: str
    arguments: str


async def call(
    ctx: Caller,
    tool: Tool[..., Any],
    arguments: Mapping[str, Any] | str,
    *,
    shown: str | None = None,
) -> Any:
    """Calls ``tool`` and writes the call, its arguments, and its result or error as events.

    ``shown`` is the id of a call whose TOOL_CALL_START, ARGS and END were written before, as by a
    model's stream; an agent that is called again must give it again, and finds it in
    ``ctx.earlier()``. Returns the tool's result. Raises ToolError, ToolArgumentsInvalid and
    ToolDenied. What was recorded of the same call in an earlier run or attempt is returned, or
    raised, without a call.
    """
    if not isinstance(tool, Tool):
        raise TypeError(f"{tool!r} is no tool; expected a function with @tool")
    steps = ctx.output.steps
    text = arguments if isinstance(arguments, str) else _json(tool, arguments)
    if shown is None:
        step = steps.next("call", tool.name, canonical(text), ctx.work)
    else:
        step = steps.next("shown", shown, b"", ctx.work)
    recorded = steps.result(step)
    if recorded is not None:
        return _recorded(tool, recorded)
    # One that was written without a result is made again: it was waiting, or it was cut off.
    id = steps.call(step) or shown or await show(ctx, tool.name, text, step)
    one = Call(tool, id, step, text)
    repeated = steps.repeat(tool.name, text)
    if repeated is not None:
        return _repeat(ctx.output, one, repeated)
    return await _result(ctx, one)


def _repeat(output: RunOutput, one: Call, result: e.ToolCallResult) -> Any:
    """Writes and returns the result of the same call in an attempt that is out of view now."""
    told = {**told_in(result.metadata), "step": one.step, "repeated": True}
    again = msgspec.structs.replace(
        result,
        message_id=output.steps.new_id("result"),
        tool_call_id=one.id,
        metadata={"agentws": told},
        timestamp=None,
    )
    output.record(again)
    return _recorded(one.tool, again)


def _json(tool: Tool[..., Any], arguments: Mapping[str, Any]) -> str:
    try:
        return encoded(dict(arguments)).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolArgumentsInvalid(
            f"The arguments of {tool.name} can't be encoded as JSON: {error}."
        ) from error


async def show(ctx: Caller, name: str, arguments: str, step: str) -> str:
    """Writes a call that was not written before; returns its id."""
    output = ctx.output
    await output.steps.caught_up(ctx.work)
    id = output.steps.new_id("call")
    output.record(e.ToolCallStart(id, name, metadata={"agentws": {"step": step}}))
    output.record(e.ToolCallArgs(tool_call_id=id, delta=arguments))
    output.record(e.ToolCallEnd(id))
    return id


async def _result(ctx: Caller, one: Call) -> Any:
    """Makes the call and writes its result; raises the error that it writes."""
    output = ctx.output
    output.steps.open_calls[one.id] = one.step
    begun = asyncio.get_running_loop().time()
    given: Approved | None = None
    try:
        given = await approved(ctx, one.tool, one.arguments, call=one.id, step=one.step)
        begun = asyncio.get_running_loop().time()
        result = await _run(ctx, one, given.arguments)
        content, kind = content_of(one.tool.name, result, largest=output.largest_result)
    except ToolError as error:
        status = "denied" if isinstance(error, ToolDenied) else "error"
        _finish(output, one, sendable(str(error)), begun, given, status=status, code=error.code)
        raise
    except asyncio.CancelledError:
        _finish(output, one, STOPPED, begun, given, status="stopped")
        raise
    _finish(output, one, content, begun, given, status="done", kind=kind)
    return result


async def _run(ctx: Caller, one: Call, arguments: Mapping[str, Any]) -> Any:
    """Calls the function within its timeout. Raises ToolError for whatever it raises."""
    steps, tool = ctx.output.steps, one.tool
    limit = asyncio.timeout(tool.timeout)
    work = Work(one.id, limit, one.step)
    try:
        await steps.begin(work)
        async with limit:
            return await tool.run(ctx.within(work), arguments)
    except (ReplayDiverged, ToolError, GeneratorExit):
        raise
    except BaseException as error:
        # A tool may raise SystemExit: in a task of its own, that would end the event loop.
        if isinstance(error, asyncio.CancelledError) and (steps.cancelled or _is_cancelled()):
            raise
        if limit.expired():
            raise ToolError(f"{tool.name} took longer than {tool.timeout:g} seconds.") from error
        if isinstance(error, AgentwsError):
            raise ToolError(error.message, expected=error.expected) from error
        logger.error("the tool %s raised", tool.name, exc_info=error)
        raise ToolError() from error
    finally:
        steps.end(work)


def _is_cancelled() -> bool:
    """Whether this task was cancelled: not only a task or future that the tool has waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _finish(
    output: RunOutput,
    one: Call,
    content: Content,
    begun: float,
    given: Approved | None,
    **told: str,
) -> None:
    """Writes the result of a call; ``told`` is its status, kind, ..."""
    duration = round(asyncio.get_running_loop().time() - begun, 3)
    edited = {} if given is None or given.edited is None else {"editedArgs": given.edited}
    result = e.ToolCallResult(
        output.steps.new_id("result"),
        one.id,
        content,
        "tool",
        metadata={"agentws": {**told, "duration": duration, "step": one.step, **edited}},
    )
    if output.record(result):
        output.steps.open_calls.pop(one.id, None)


def _recorded(tool: Tool[..., Any], recorded: e.ToolCallResult) -> Any:
    told = told_in(recorded.metadata)
    if told.get("status") == "done":
        return result_of(tool, recorded.content, told.get("kind", "text"))
    raise _ERRORS.get(str(told.get("code")), ToolError)(str(recorded.content))


def stopped_results(output: RunOutput) -> list[e.ToolCallResult]:
    """The results of the calls that a run ends without: they were stopped."""
    steps = output.steps
    return [
        stopped_result(id, step, message=steps.new_id("result"))
        for id, step in steps.open_calls.items()
    ]


def stopped_result(call: str, step: str, *, message: str) -> e.ToolCallResult:
    """The result of a call that was stopped, under the id ``message``."""
    told = {"agentws": {"status": "stopped", "step": step}}
    return e.ToolCallResult(message, call, STOPPED, "tool", metadata=told)
