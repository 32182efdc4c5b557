"""A conversation of several agents, as the model of one of them is to read it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ..protocol.messages import AssistantMessage, Content, Message, TextPart, UserMessage
from .handover import Handover
from .run_context import RunContext


def as_read_by(ctx: RunContext, messages: Iterable[Message]) -> list[Message]:
    """``messages`` for the agent of ``ctx``; the last one is to be answered.

    What delegates wrote is left out: their callers have used it. The answers of other agents begin
    with their name, and what was handed over ends with the reason. Nothing else is changed.
    """
    read = [_by_name(one, ctx.agent) for one in messages if one.subagent_run_id is None]
    if ctx.handed_over is not None and read and isinstance(read[-1], UserMessage):
        last = read[-1]
        content = _with_note(last.content, _reason(ctx.handed_over))
        read[-1] = msgspec.structs.replace(last, content=content)
    return read


def _by_name(message: Message, reader: str) -> Message:
    match message:
        case AssistantMessage(name=str(name), content=str(text)) if text and name != reader:
            content = f"[The agent {name} said:]\n{text}"
            return msgspec.structs.replace(message, content=content)
        case _:
            return message


def _reason(handover: Handover) -> str:
    why = f" The reason: {handover.reason}" if handover.reason else ""
    return f"[The agent {handover.by} has handed the conversation over to you.{why}]"


def _with_note(content: Content, note: str) -> Content:
    if isinstance(content, list):
        return [*content, TextPart(text=note)]
    return f"{content}\n\n{note}"
