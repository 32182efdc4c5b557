"""The prompt: the newest whole turns of a conversation, in the form that providers accept.

A *turn* is a user message with everything that follows it up to the next one. The messages before
the first user message are a turn of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import msgspec

from ..protocol.fold import STATUS_KEY
from ..protocol.messages import (
    AssistantMessage,
    Content,
    Media,
    Message,
    TextPart,
    ToolMessage,
    UserMessage,
)
from .llm import readable
from .run_context import RunContext

STOPPED = {
    "cancelled": "[The user stopped this answer here. Don't continue it unless asked to.]",
    "error": "[This answer broke off here because of an error. Don't continue it unless asked to.]",
}
UNANSWERED = {
    "cancelled": "[The user stopped the answer to this before it began.]",
    "error": "[The answer to this failed before it began.]",
}
EMPTY_MESSAGE = "[An empty message.]"
"""Stands for a message without text: providers refuse one, and it must not be left out."""
NO_RESULT = "There is no result: the run ended before the tool did."

_TOKENS_PER_MESSAGE = 4
_TOKENS_PER_MEDIA = 1_500
"""About what an image or a page costs; providers count by pixels, which are not known here."""
_FIRST_PAGE = 64
"""Messages in the first page of the history that is read."""


def prompt(messages: Sequence[Message], *, budget: int) -> list[Message]:
    """``messages`` within ``budget`` (approximate tokens), well formed, unfinished answers marked.

    The last message is to be answered, so it is never marked.
    """
    shown = well_formed(newest_turns(messages, budget=budget))
    return [*map(_marked, shown[:-1]), *shown[-1:]]


def newest_turns(messages: Sequence[Message], *, budget: int) -> list[Message]:
    """The newest turns that fit ``budget`` together, whole and in order.

    The last turn is to be answered: it is kept even if it is larger than the budget.
    """
    kept: list[list[Message]] = []
    left = budget
    for turn in reversed(list(_turns(messages))):
        left -= sum(map(approximate_tokens, turn))
        if kept and left < 0:
            break
        kept.append(turn)
    return [message for turn in reversed(kept) for message in turn]


def well_formed(messages: Sequence[Message]) -> list[Message]:
    """``messages`` in the order that providers demand: each tool call before its one result.

    A call without a result, as its run ended first, gets one that says so. A result without a call
    in its turn is left out. What a model said after its calls, before their results, comes before
    the calls: so the last message is never the model's own where it is to go on.
    """
    return [message for turn in _turns(messages) for message in _paired([*_calls_last(turn)])]


def approximate_tokens(message: Message) -> int:
    """An estimate without a tokenizer: four bytes of UTF-8 are one token.

    Bytes and not characters, since scripts with longer encodings also take more tokens.
    """
    size = len(_text(message).encode("utf-8", "surrogatepass"))
    return size // 4 + _media(message) * _TOKENS_PER_MEDIA + _TOKENS_PER_MESSAGE


def _media(message: Message) -> int:
    """How many images and files come with ``message``."""
    if not isinstance(message, UserMessage | ToolMessage):
        return 0
    files = (message.metadata or {}).get("attachments")
    parts = message.content if isinstance(message.content, list) else []
    attached = len(files) if isinstance(files, list) else 0
    return attached + sum(isinstance(part, Media) for part in parts)


async def enough_history(ctx: RunContext, *, budget: int) -> list[Message]:
    """As much of the newest history as fills ``budget``, read in pages that double in size.

    Most long conversations are much larger than a prompt, and must not be read whole.
    """
    limit = _FIRST_PAGE
    while True:
        messages = await ctx.history(limit=limit)
        # What delegates wrote is in no prompt.
        own = (message for message in messages if message.subagent_run_id is None)
        if len(messages) < limit or sum(map(approximate_tokens, own)) > budget:
            return messages
        limit *= 2


def _text(message: Message) -> str:
    match message:
        case AssistantMessage(content=content, tool_calls=calls):
            called = (call.function.name + call.function.arguments for call in calls or ())
            return (content or "") + "".join(called)
        case UserMessage(content=content) | ToolMessage(content=content):
            return readable(content)
        case _:
            return str(message.content)


def _turns(messages: Sequence[Message]) -> Iterator[list[Message]]:
    turn: list[Message] = []
    for message in messages:
        if isinstance(message, UserMessage) and turn:
            yield turn
            turn = []
        turn.append(message)
    if turn:
        yield turn


def _calls_last(turn: list[Message]) -> Iterator[Message]:
    """The turn with the calls of each answer after its texts, as far as results follow."""
    answer: list[Message] = []
    for message in turn:
        if not isinstance(message, ToolMessage):
            answer.append(message)
            continue
        begun = next((at for at, one in enumerate(answer) if _calls(one)), len(answer))
        yield from answer[:begun]
        yield from sorted(answer[begun:], key=_is_no_text)
        yield message
        answer.clear()
    yield from answer


def _calls(message: Message) -> bool:
    return isinstance(message, AssistantMessage) and bool(message.tool_calls)


def _is_no_text(message: Message) -> bool:
    return not isinstance(message, AssistantMessage) or _calls(message)


def _paired(turn: list[Message]) -> Iterator[Message]:
    """The turn with each result after its call. Calls with the same id get results in order."""
    results: dict[str, deque[ToolMessage]] = {}
    for message in turn:
        if isinstance(message, ToolMessage):
            results.setdefault(message.tool_call_id, deque()).append(message)
    for message in turn:
        if isinstance(message, ToolMessage):
            continue
        yield message
        if isinstance(message, AssistantMessage):
            for call in message.tool_calls or ():
                found = results.get(call.id)
                yield found.popleft() if found else _no_result(call.id)


def _no_result(call: str) -> ToolMessage:
    return ToolMessage(id=f"{call}-none", content=NO_RESULT, tool_call_id=call, error=NO_RESULT)


def _marked(message: Message) -> Message:
    """``message`` with a note if its run failed or was cancelled: else a model continues it.

    The result of a call that was not done becomes an error, which AG-UI's events can't say.
    """
    if isinstance(message, ToolMessage):
        failed = _status(message) not in ("", "done") and message.error is None
        return (
            msgspec.structs.replace(message, error=readable(message.content)) if failed else message
        )
    notes = _NOTES.get(type(message), {})
    note = notes.get(_status(message))
    if note is None or not isinstance(message, AssistantMessage | UserMessage):
        return message
    return msgspec.structs.replace(message, content=_with_note(message.content, note))


_NOTES: dict[type[Message], dict[str, str]] = {
    AssistantMessage: STOPPED,
    UserMessage: UNANSWERED,
}


def _with_note(content: Content | None, note: str) -> Content:
    if isinstance(content, list):
        return [*content, TextPart(text=note)]
    return f"{content}\n\n{note}" if content else note


def _status(message: Message) -> str:
    ours = (message.metadata or {}).get(STATUS_KEY)
    return str(ours.get("status")) if isinstance(ours, dict) else ""
