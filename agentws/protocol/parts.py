"""Pagination of a conversation: parts of limited size; a message may continue in the next part.

The parts are a function of the messages and the size alone, so a client that asks for one after
the other gets everything exactly once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from . import messages as m
from .cutting import boundary
from .fold import STATUS_KEY
from .messages import Message

CUT: Final = "cut"
"""The member of ``metadata.agentws`` that marks a message whose beginning is on an older page."""

_LARGEST_CHARACTER: Final = 512
"""More bytes than :func:`boundary` looks back for the beginning of a character."""
_encoder: Final = msgspec.json.Encoder()
_Texts = (
    m.AssistantMessage | m.DeveloperMessage | m.ReasoningMessage | m.SystemMessage | m.UserMessage
)
T = TypeVar("T", bound=_Texts)


def divide(messages: Sequence[Message], size: int, *, most: int) -> list[list[Message]]:
    """``messages`` in parts of about ``size`` bytes, the oldest first; at least one part.

    There are at most ``most`` parts; the oldest then holds everything that is left, and is larger.
    The newest parts are filled first, since clients show those.
    A message that is split is in each of its parts, with its text and calls that belong there; its
    other members are in the last one. A message without text can't be split and may make a part
    larger. A tool's result is never in a part without the message that made the call.
    """
    newest_first = _parts(messages, size, sys.maxsize)
    if len(newest_first) > most:
        newest_first = _parts(messages, size, most)
    callers = _callers(messages)
    return [_with_callers(part[::-1], callers) for part in reversed(newest_first)]


def _parts(messages: Sequence[Message], size: int, most: int) -> list[list[Message]]:
    """The parts, and the messages in each of them, the newest first."""
    newest_first: list[list[Message]] = [[]]
    used = 0
    for message in reversed(messages):
        # A part that already holds other messages may have no room for this one.
        left = most - len(newest_first) + (not newest_first[-1])
        for nth, piece in enumerate(reversed(_pieces(message, size, max(left, 1)))):
            length = len(_encoder.encode(piece)) + 1
            # Two pieces of one message are never in the same part.
            full = nth or used + length > size
            if full and newest_first[-1] and len(newest_first) < most:
                newest_first.append([])
                used = 0
            newest_first[-1].append(piece)
            used += length
    return newest_first


def is_cut(message: Message) -> bool:
    """Whether the message began on an older page."""
    extras = (message.metadata or {}).get(STATUS_KEY)
    return isinstance(extras, dict) and bool(extras.get(CUT))


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
    if beside > size - room and (filled[-1][0] or filled[-1][1]):
        # What is beside the text is large itself, and must not be made larger.
        filled.append(("", []))
    filled = _at_most(filled, most)
    pieces = [_filled(bare, text, calls) for text, calls in filled[:-1]]
    pieces.append(_filled(message, *filled[-1]))
    return [pieces[0], *map(_marked, pieces[1:])]


def _at_most(
    filled: list[tuple[str, list[m.ToolCall]]], most: int
) -> list[tuple[str, list[m.ToolCall]]]:
    """``filled`` with its first pieces joined, so that there are at most ``most``."""
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
    """The bytes for text in a part with ``beside`` other bytes: about what is left of ``size``.

    At least two thirds of it, so that a run rarely has more parts than events.
    """
    return max(size - beside, 2 * size // 3)


def _without(message: _Texts, **also: Any) -> dict[str, Any]:
    """The changes that remove text and calls from a piece of ``message``.

    With ``also``, which is added, the encrypted value too: only the last piece has these members.
    """
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
    extras = metadata.get(STATUS_KEY)
    marked = {**(extras if isinstance(extras, dict) else {}), CUT: True}
    return msgspec.structs.replace(message, metadata={**metadata, STATUS_KEY: marked})


def _cut_call(call: m.ToolCall, room: int) -> list[m.ToolCall]:
    if len(_encoder.encode(call)) <= room:
        return [call]
    name = call.function.name
    empty = msgspec.structs.replace(call, function=m.FunctionCall(name, ""))
    beside = len(_encoder.encode(empty))
    texts = _cut(call.function.arguments, _room(room, beside)) or [""]
    if beside > room - _room(room, beside) and texts[-1]:
        texts.append("")
    bare = msgspec.structs.replace(call, encrypted_value=None, metadata=None)
    shells = [bare] * (len(texts) - 1) + [call]
    return [
        msgspec.structs.replace(shell, function=m.FunctionCall(name, text))
        for shell, text in zip(shells, texts, strict=True)
    ]


def _cut(text: str, room: int) -> list[str]:
    """``text`` in pieces of at most ``room`` encoded bytes; the first one is the shortest."""
    inside = _encoder.encode(text)[1:-1]
    pieces: list[str] = []
    # The boundary between two characters is at most that far before the target.
    step = max(room - _LARGEST_CHARACTER, 8)
    target = (len(inside) - 1) % step + 1
    start = 0
    while start < len(inside):
        end = boundary(inside, start, max(target, start + 8))
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
    """``part`` with an empty call for each result in it whose call is on an older page."""
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
