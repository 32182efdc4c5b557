"""Questions of an agent to a person: the run ends with the question, the answer resumes it.

In the agent it is one ``await``. The agent waits in memory for some time; after that, or on another
node, it is called again, and the same question returns the recorded answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ..errors import AskDeclined, AskExpired
from ..protocol import events as e
from ..protocol.messages import Interrupt, Metadata, told_in
from ..protocol.text import plain
from .caller import Caller
from .schemas import converted, schema_of

MAX_EXPIRY: Final = 10 * 366 * 86400
"""The most seconds until a question expires: ten years."""
_encoder: Final = msgspec.json.Encoder(order="sorted")


async def ask(
    ctx: Caller,
    question: str,
    *,
    schema: Any = None,
    choices: Sequence[str] | None = None,
    expires: float | None = None,
) -> Any:
    """Asks a person and returns the answer; see :meth:`agentws.RunContext.ask`."""
    if not isinstance(question, str):
        raise TypeError(f"question: expected text, not {type(question).__name__}")
    question = plain(question)
    offered = None if choices is None else _checked_choices(choices, schema)
    response = {"type": "string", "enum": offered} if offered else response_schema(schema)
    told = _encoder.encode([offered, response])
    step = ctx.output.steps.next("ask", question, told, ctx.work)
    message, attempt = question, 0
    while True:
        answer = await answered(
            ctx,
            f"{step}/{attempt}",
            Interrupt(
                "",
                "confirmation" if offered else "input_required",
                message,
                response_schema=response,
                metadata={"agentws": {"choices": offered}} if offered else None,
            ),
            expires=expires,
        )
        if answer.status == "cancelled":
            raise AskExpired() if has_expired(answer) else AskDeclined()
        try:
            return _converted(answer.payload, schema)
        except ValueError as error:
            message, attempt = f"{question}\n\nThe answer does not fit: {error}.", attempt + 1


def _checked_choices(choices: Iterable[str], schema: Any) -> list[str]:
    # Read once: it may be a generator.
    offered = [] if isinstance(choices, str) else list(choices)
    if not offered or not all(isinstance(one, str) for one in offered) or schema is not None:
        raise ValueError("choices: expected one text or more, and no schema beside them")
    return [plain(one) for one in offered]


def response_schema(schema: Any) -> dict[str, Any] | None:
    """A type as the JSON Schema of an answer. One that is given as a dict is only shown."""
    return schema if schema is None or isinstance(schema, dict) else schema_of(schema)


def _converted(payload: Any, schema: Any) -> Any:
    """The payload as the type asked for. A JSON Schema given as a dict is only shown."""
    if schema is None or isinstance(schema, dict):
        return payload
    return converted(payload, schema)


async def answered(
    ctx: Caller, step: str, question: Interrupt, *, expires: float | None = None
) -> e.InterruptAnswered:
    """The answer to ``question``, which needs no id: the recorded one, or that of a person."""
    steps = ctx.output.steps
    recorded = steps.asked(step)
    if recorded is not None:
        await steps.wait_for_others(step, ctx.work)
        return recorded.answer
    await steps.caught_up(ctx.work)
    asked = msgspec.structs.replace(
        question,
        id=question.id or steps.new_id("ask"),
        expires_at=None if expires is None else _deadline(steps.now(), expires),
        subagent_run_id=ctx.output.subagent,
        metadata=_metadata(question.metadata, {**steps.origin(), "step": step}),
    )
    with steps.pausing(ctx.work):
        return await steps.wait(asked)


def _metadata(known: Metadata | None, more: dict[str, Any]) -> Metadata:
    return {**(known or {}), "agentws": {**told_in(known), **more}}


def _deadline(now: int, seconds: float) -> str:
    """``now``, in milliseconds since the epoch, and ``seconds`` later, as ISO 8601."""
    if not 0 < seconds <= MAX_EXPIRY:
        raise ValueError(f"expires is {seconds}; expected 0 to {MAX_EXPIRY} seconds")
    due = datetime.fromtimestamp(now / 1000 + seconds, UTC)
    return due.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def has_expired(answer: e.InterruptAnswered) -> bool:
    """Whether nobody answered: the question was cancelled at its deadline."""
    return bool(told_in(answer.metadata).get("expired"))
