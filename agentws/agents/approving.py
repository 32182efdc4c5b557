"""The approval of a call by a person, who sees the exact call and its arguments."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ..errors import ToolArgumentsInvalid, ToolDenied, ToolError
from ..protocol.frames import sendable
from ..protocol.messages import Interrupt
from .asking import answered
from .caller import Caller
from .tools import Tool

logger: Final = logging.getLogger("agentws.run")


class Approved(NamedTuple):
    """The arguments that a call is made with."""

    arguments: dict[str, Any]
    edited: dict[str, Any] | None = None
    """What a person replaced them by, as they wrote it."""


async def approved(
    ctx: Caller, tool: Tool[..., Any], arguments: str, *, call: str, step: str
) -> Approved:
    """The validated arguments of a call, once a person has approved it if it needs that.

    Edited arguments are validated too; if they are not valid, the person is asked again. Raises
    ToolArgumentsInvalid and ToolDenied.
    """
    parsed = tool.parse(arguments)
    # What a person has said counts, also where the tool has needed no approval since.
    is_known = ctx.output.steps.asked(f"{step}/0") is not None
    if not (is_known or _needs_approval(tool, parsed)):
        return Approved(parsed)
    wrong, attempt = "", 0
    while True:
        message = f"{wrong}Call {tool.name} with {sendable(arguments)}?"
        question = Interrupt("", "tool_call", message, call, response_schema(tool))
        answer = await answered(ctx, f"{step}/{attempt}", question)
        payload = answer.payload if isinstance(answer.payload, dict) else {}
        if answer.status == "cancelled" or payload.get("approved") is not True:
            reason = payload.get("reason")
            raise ToolDenied(f"The call was denied: {reason}" if reason else None)
        edited = payload.get("editedArgs")
        if edited is None:
            return Approved(parsed)
        try:
            return Approved(tool.parse(edited), edited)
        except ToolArgumentsInvalid as error:
            wrong, attempt = f"{error.message} ", attempt + 1


def _needs_approval(tool: Tool[..., Any], parsed: Mapping[str, Any]) -> bool:
    """Raises ToolError if the tool's own callable fails: then the call is not made."""
    try:
        return tool.needs_approval(parsed)
    except BaseException as error:
        logger.error("the approve of %s raised", tool.name, exc_info=error)
        raise ToolError() from error


def response_schema(tool: Tool[..., Any]) -> dict[str, Any]:
    """The JSON Schema of an answer: approve, deny with a reason, or approve other arguments."""
    properties = {
        "approved": {"type": "boolean"},
        "reason": {"type": "string"},
        "editedArgs": tool.parameters,
    }
    return {"type": "object", "properties": properties, "required": ["approved"]}
