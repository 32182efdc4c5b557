"""What an answer to a question must be, and what becomes of a question that nobody answers."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from ..errors import BadRequest, Expired
from ..protocol import events as e
from ..protocol import frames as f
from ..protocol import messages as m
from ..protocol.outline import Outline
from ..sessions.session import Session
from ..store import Key
from .ids import ms_of, now_ms

T = TypeVar("T")


def check_answer(interrupt: m.Interrupt, answer: f.Answer) -> None:
    """Raises BadRequest for an answer that does not fit its question, and Expired for a late one.

    Only of a question that an agent asked by its context: for any other one the agent checks it.
    """
    told = m.told_in(interrupt.metadata)
    if interrupt.expires_at is not None and now_ms() >= ms_of(interrupt.expires_at):
        raise Expired()
    if answer.status == "cancelled" or "step" not in told:
        return
    choices = told.get("choices")
    if isinstance(choices, list) and answer.payload not in choices:
        raise BadRequest("This is none of the choices.", expected=f"one of {', '.join(choices)}")
    if interrupt.reason == "tool_call":
        _checked(
            answer.payload,
            _Approval,
            "This neither approves nor denies the call",
            expected='{"approved": true}, with an object as "editedArgs" for other arguments, or '
            '{"approved": false, "reason": "..."}',
        )
    elif interrupt.reason == m.CLIENT_TOOL:
        wrong, expected = "This is no result of a tool", "a tool_result"
        result = _checked(answer.payload, _Result, wrong, expected=expected)
        if (result.content is None) == (result.error is None):
            raise BadRequest(f"{wrong}.", expected=expected)


class _Approval(msgspec.Struct, rename="camel"):
    """The payload that approves or denies a call."""

    approved: bool
    reason: str | None = None
    edited_args: dict[str, Any] | None = None


class _Result(msgspec.Struct):
    """The payload that has the result of a client's tool."""

    content: m.Content | None = None
    error: str | None = None


def _checked(payload: Any, type_: type[T], wrong: str, *, expected: str) -> T:
    try:
        return msgspec.convert(payload, type_)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{wrong}: {error}.", expected=expected) from error


def answer_of(frame: f.ToolResult, outline: Outline) -> f.Answer:
    """The result of a client's tool, as the answer to the question that asks for it.

    Such a question has the id of its call. Raises BadRequest.
    """
    if (frame.content is None) == (frame.error is None):
        raise BadRequest("This result has no content.", expected="either content or an error")
    asked = outline.interrupts.get(frame.tool_call_id)
    if asked is not None and asked.reason != m.CLIENT_TOOL:
        raise BadRequest("This call is not for a client.", expected="the id of a client's call")
    if frame.error is not None:
        payload: dict[str, object] = {"error": frame.error}
    else:
        payload = {"content": msgspec.to_builtins(frame.content)}
    return f.Answer(id=frame.id, interrupt=frame.tool_call_id, payload=payload)


def answer_key(session: Session, interrupt: str, digest: str) -> Key:
    """The idempotency key of the outcome of a question: it has one.

    With the run's id too: an agent may use the same question id again.
    """
    return Key(f"answer:{session.outline.asked.get(interrupt)}:{interrupt}", digest)


def expiry(interrupt: str) -> e.InterruptAnswered:
    """The event of a question that nobody answered before its deadline."""
    return e.InterruptAnswered(
        interrupt, "cancelled", timestamp=now_ms(), metadata={"agentws": {"expired": True}}
    )


EXPIRY_DIGEST = "expired"
"""The digest of an expiry: the same on every node."""
