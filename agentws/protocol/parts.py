"""A conversation in parts that can be sent: a message too large for one goes on in the next.

The parts follow from the messages and the size alone, so that whoever asks for one after the other
gets all of it, each once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from . import messages as m
from .cutting import border
from .fold import STATUS_KEY
from .messages import Message

CUT: Final = "cut"
"""The mark, in a message's ``metadata.agentws``, of one whose beginning is on an older page."""

_FARTHEST: Final = 512
_encoder: Final = msgspec.json.Encoder()
_Texts = (
    m.AssistantMessage | m.DeveloperMessage | m.ReasoningMessage | m.SystemMessage | m.UserMessage
)
T = TypeVar("T", bound=_Texts)


def divide(messages: Sequence[Message], size: int, *, most: int) -> list[list[Message]]:
    """``messages`` in parts of about ``size`` bytes at most, the oldest first; at least one part.

    There are no more than ``most`` of them: the oldest is larger then, and has all that is left.
    The newest are filled, since they are the ones that are looked at.
    A message of several parts is in each with what stands there of its text and its calls, and
    with everything else in the last. What has no text to cut may make a part larger. A result is
    never without the message that called.
    """
    newest_first = _parts(messages, size, sys.maxsize)
    if len(newest_first) > most:
        newest_first = _parts(messages, size, most)
    callers = _callers(messages)
    return [_with_callers(part[::-1], callers) for part in reversed(newest_first)]


def _parts(messages: Sequence[Message], size: int, most: int) -> list[list[Message]]:
    """The parts, the newest first, and so the messages of each."""
    newest_first: list[list[Message]] = [[]]
    used = 0
    for message in reversed(messages):
        # A part that others have begun may have no room for any of it.
        left = most - len(newest_first) + (not newest_first[-1])
        for nth, piece in enumerate(reversed(_pieces(message, size, max(left, 1)))):
            length = len(_encoder.encode(piece)) + 1
            # Two pieces of one message are never in one part.
            full = nth or used + length > size
            if full and newest_first[-1] and len(newest_first) < most:
                newest_first.append([])
                used = 0
            newest_first[-1].append(piece)
            used += length
    return newest_first


def is_cut(message: Message) -> bool:
    """Whether the message began on an older page."""
    told = (message.metadata or {}).get(STATUS_KEY)
    return isinstance(told, dict) and bool(told.get(CUT))


# One message


def _pieces(message: Message, size: int, most: int) -> list[Message]:
    if len(_encoder.encode(message)) <= size:
        return [message]
    match message:
        case m.UserMessage(content=list()) | m.ToolMessage() | m.ActivityMessage():
            return [message]
        case _:
            return list(_cut_message(message, size, most))


def _cut_message(message: T, size: int, most: int) -> list[T]:
    bare = msgspec.structs.replace(message, **_without(message, metadata=None))
    beside = len(_encoder.encode(_marked(msgspec.structs.replace(message, **_without(message)))))
    room = _room(size, beside)
    texts = _cut(message.content or "", room) if isinstance(message.content, str) else []
    filled: list[tuple[str, list[m.ToolCall]]] = [(text, []) for text in texts] or [("", [])]
    used = len(_encoder.encode(filled[-1][0]))
    for call in (message.tool_calls or ()) if isinstance(message, m.AssistantMessage) else ():
        for nth, piece in enumerate(_cut_call(call, room)):
            length = len(_encoder.encode(piece)) + 1
            if nth or used + length > room:
                filled.append(("", []))
                used = 0
            filled[-1][1].append(piece)
            used += length
    filled = _at_most(filled, most)
    pieces = [_filled(bare, text, calls) for text, calls in filled[:-1]]
    pieces.append(_filled(message, *filled[-1]))
    return [pieces[0], *map(_marked, pieces[1:])]


def _at_most(
    filled: list[tuple[str, list[m.ToolCall]]], most: int
) -> list[tuple[str, list[m.ToolCall]]]:
    """``filled``, the first of it put together where it is more than ``most``."""
    if len(filled) <= most:
        return filled
    first, rest = filled[: len(filled) - most + 1], filled[len(filled) - most + 1 :]
    whole: dict[str, m.ToolCall] = {}
    for call in (call for _, calls in first for call in calls):
        known = whole.get(call.id)
        said = (known.function.arguments if known else "") + call.function.arguments
        function = m.FunctionCall(call.function.name, said)
        whole[call.id] = msgspec.structs.replace(call, function=function)
    return [("".join(text for text, _ in first), list(whole.values())), *rest]


def _room(size: int, beside: int) -> int:
    """What is left for text; so much of it that a run mostly has no fewer events than parts."""
    return max(size - beside, 2 * size // 3)


def _without(message: _Texts, **also: Any) -> dict[str, Any]:
    """What empties ``message``; with ``also``, of everything that is not said in each piece."""
    empty: dict[str, Any] = {"content": None if message.content is None else "", **also}
    if isinstance(message, m.AssistantMessage):
        empty["tool_calls"] = None
    if also:
        empty["encrypted_value"] = None
    return empty


def _filled(message: T, text: str, calls: list[m.ToolCall]) -> T:
    if isinstance(message, m.AssistantMessage):
        content = text or (None if message.content is None else "")
        return msgspec.structs.replace(message, content=content, tool_calls=calls or None)
    return msgspec.structs.replace(message, content=text)


def _marked(message: T) -> T:
    metadata = message.metadata or {}
    told = metadata.get(STATUS_KEY)
    marked = {**(told if isinstance(told, dict) else {}), CUT: True}
    return msgspec.structs.replace(message, metadata={**metadata, STATUS_KEY: marked})


def _cut_call(call: m.ToolCall, room: int) -> list[m.ToolCall]:
    if len(_encoder.encode(call)) <= room:
        return [call]
    name = call.function.name
    empty = msgspec.structs.replace(call, function=m.FunctionCall(name, ""))
    texts = _cut(call.function.arguments, _room(room, len(_encoder.encode(empty)))) or [""]
    bare = msgspec.structs.replace(call, encrypted_value=None, metadata=None)
    shells = [bare] * (len(texts) - 1) + [call]
    return [
        msgspec.structs.replace(shell, function=m.FunctionCall(name, text))
        for shell, text in zip(shells, texts, strict=True)
    ]


def _cut(text: str, room: int) -> list[str]:
    """``text`` in pieces of at most ``room`` bytes when they are encoded; the first has less."""
    inside = _encoder.encode(text)[1:-1]
    pieces: list[str] = []
    # A place that divides no character is at most so much earlier than where it is looked for.
    step = max(room - _FARTHEST, 8)
    target = (len(inside) - 1) % step + 1
    start = 0
    while start < len(inside):
        end = border(inside, start, max(target, start + 8))
        pieces.append(msgspec.json.decode(b'"%b"' % inside[start:end]))
        start, target = end, target + step
    return pieces


# Calls and their results


def _callers(messages: Sequence[Message]) -> dict[str, tuple[m.AssistantMessage, m.ToolCall]]:
    return {
        call.id: (message, call)
        for message in messages
        if isinstance(message, m.AssistantMessage)
        for call in message.tool_calls or ()
    }


def _with_callers(
    part: list[Message], callers: dict[str, tuple[m.AssistantMessage, m.ToolCall]]
) -> list[Message]:
    """``part``, with the calls, empty, whose results are in it and that are on an older page."""
    called = _callers(part)
    for message in tuple(part):
        if not isinstance(message, m.ToolMessage) or message.tool_call_id in called:
            continue
        found = callers.get(message.tool_call_id)
        if found is not None:
            caller, call = found
            called[call.id] = found
            _add_call(part, caller, m.ToolCall(call.id, m.FunctionCall(call.function.name, "")))
    return part


def _add_call(part: list[Message], caller: m.AssistantMessage, call: m.ToolCall) -> None:
    for at, message in enumerate(part):
        if isinstance(message, m.AssistantMessage) and message.id == caller.id:
            calls = [*(message.tool_calls or ()), call]
            part[at] = msgspec.structs.replace(message, tool_calls=calls)
            return
    empty = m.AssistantMessage(caller.id, None, [call], subagent_run_id=caller.subagent_run_id)
    part.insert(0, _marked(empty))
