"""The tools that a model may call, and the results that it reads."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from typing import Any, Final

from ..errors import ToolError
from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.frames import sendable
from . import calls
from .llm import LLM
from .results import content_of
from .run_context import RunContext
from .tools import Tool

LONGEST_NAME: Final = 64
"""Characters of the name of a tool; models accept no longer one."""
TOO_MANY: Final = "The call was not made: tools were used too often for one answer."


class Toolbox:
    """The tools of one agent by name. Raises TypeError and ValueError as :class:`.ChatAgent`."""

    def __init__(self, tools: Sequence[Tool[..., Any]], llm: LLM) -> None:
        for tool in tools:
            if not isinstance(tool, Tool):
                raise TypeError(
                    f"tools holds a {type(tool).__name__}; expected tools, see agentws.tool"
                )
        self._tools = {tool.name: tool for tool in tools}
        if len(self._tools) < len(tools):
            raise ValueError("two tools have the same name; expected a name for each")
        if tools and not _takes_tools(llm):
            raise TypeError(
                f"the stream method of {type(llm).__name__} takes no tools; expected a parameter "
                "`tools`, or an agent without tools"
            )
        self.offered = [m.Tool(tool.name, tool.description, tool.parameters) for tool in tools]
        """The tools as the model is given them."""

    async def results(
        self, ctx: RunContext, called: Sequence[m.ToolCall], *, refused: bool = False
    ) -> list[m.ToolMessage]:
        """Makes the calls of one round, in parallel; returns their results in the calls' order.

        With ``refused``, none is made, and the results say so.
        """
        if refused:
            return [await _refusal(ctx, call, TOO_MANY) for call in called]
        if len(called) == 1:
            return [await self._result(ctx, called[0])]
        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(self._result(ctx, call)) for call in called]
        return [one.result() for one in made]

    async def _result(self, ctx: RunContext, call: m.ToolCall) -> m.ToolMessage:
        tool = self._tools.get(call.function.name)
        if tool is None:
            known = ", ".join(self._tools) or "no tool at all"
            name = call.function.name[:LONGEST_NAME]
            return await _refusal(ctx, call, f"There is no tool {name}. Use {known}.")
        try:
            result = await calls.call(ctx, tool, call.function.arguments, shown=call.id)
            content, _ = content_of(tool.name, result, largest=ctx.output.largest_result)
        except ToolError as error:
            return _message(call, sendable(str(error)), failed=True)
        return _message(call, content)


async def _refusal(ctx: RunContext, call: m.ToolCall, why: str) -> m.ToolMessage:
    """The result of a call that is not made; written, unless an earlier run has written it."""
    known = (one.tool_call_id for one in await ctx.earlier() if isinstance(one, m.ToolMessage))
    if call.id not in known:
        result = e.ToolCallResult(
            ctx.output.steps.new_id("msg"),
            call.id,
            sendable(why),
            "tool",
            metadata={"agentws": {"status": "error", "code": ToolError.code}},
        )
        ctx.output.write(result)
    return _message(call, why, failed=True)


def _message(call: m.ToolCall, content: m.Content, *, failed: bool = False) -> m.ToolMessage:
    error = content if failed and isinstance(content, str) else None
    return m.ToolMessage(f"{call.id}-result", content, call.id, error=error)


def _takes_tools(llm: LLM) -> bool:
    parameters = inspect.signature(llm.stream).parameters.values()
    return any(one.name == "tools" or one.kind is one.VAR_KEYWORD for one in parameters)
