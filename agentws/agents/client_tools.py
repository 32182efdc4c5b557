"""Tools that a client has: the run ends with the call, the client's result resumes it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ..errors import ToolError
from ..protocol import events as e
from ..protocol.messages import CLIENT_TOOL, Content, Interrupt, text_of, told_in
from .asking import answered, has_expired, response_schema
from .caller import Caller
from .calls import show
from .schemas import decoded, encoded
from .steps import canonical


async def client_tool(
    ctx: Caller,
    name: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    schema: Any = None,
    expires: float | None = None,
) -> Any:
    """Has a client call a tool; see :meth:`agentws.RunContext.client_tool`."""
    response = None if schema is None else response_schema(schema)
    steps, text = ctx.output.steps, encoded(dict(arguments or {})).decode()
    step = steps.next("client_tool", name, canonical(text), ctx.work)
    done = steps.result(step)
    if done is None:
        call = steps.call(step) or await show(ctx, name, text, step)
        steps.open_calls[call] = step
        begun = asyncio.get_running_loop().time()
        told = {"agentws": {"tool": name}}
        asked = Interrupt(call, CLIENT_TOOL, f"Call {name}", call, response, metadata=told)
        answer = await answered(ctx, f"{step}/0", asked, expires=expires)
        duration = round(asyncio.get_running_loop().time() - begun, 3)
        done = _result(
            name,
            call,
            answer,
            {"kind": "text", "step": step, "duration": duration},
            message=steps.new_id("result"),
        )
        if ctx.output.record(done):
            steps.open_calls.pop(call, None)
    if told_in(done.metadata).get("status") != "done":
        raise ToolError(text_of(done.content))
    return _converted(name, done.content, schema)


def _result(
    name: str, call: str, answer: e.InterruptAnswered, told: dict[str, Any], *, message: str
) -> e.ToolCallResult:
    payload = answer.payload if isinstance(answer.payload, dict) else {}
    content: Content
    if answer.status == "cancelled":
        late = has_expired(answer)
        content = f"No client called {name} in time." if late else f"{name} was not called."
        status = "error"
    elif payload.get("error") is not None:
        content, status = str(payload["error"]), "error"
    else:
        content, status = payload.get("content") or "", "done"
    return e.ToolCallResult(
        message, call, content, "tool", metadata={"agentws": {"status": status, **told}}
    )


def _converted(name: str, content: Content, schema: Any) -> Any:
    if schema is None or isinstance(schema, dict):
        return content
    try:
        return decoded(text_of(content), schema)
    except ValueError as error:
        raise ToolError(f"The result of {name} does not fit: {error}.") from error
