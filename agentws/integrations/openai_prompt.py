"""A conversation as the messages of a chat completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..agents.llm import readable
from ..agents.prompt import EMPTY_MESSAGE, well_formed
from ..protocol.messages import (
    AssistantMessage,
    Content,
    ContentPart,
    DeveloperMessage,
    Message,
    ReasoningMessage,
    SystemMessage,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from .media import SOUNDS, ProviderMedia, media_in_words, provider_media
from .tool_names import ToolIds, described, json_value, tool_arguments, tool_name

Entry = dict[str, Any]

EXTRA: Final = "openai.extra_content:"
"""Begins a sealed value of a call: the member that Gemini's compatible server demands back."""


def conversation(
    messages: Sequence[Message],
    instructions: str | None,
    *,
    media: bool = True,
    reasoning: bool = False,
) -> list[Entry]:
    """The messages as chat completions take them, the instructions first.

    Neighbours of the same role are one message: the templates of many local models refuse others,
    such as a message of the user after one without an answer.

    Without ``media``, images and files are named in text. With ``reasoning``, every message of the
    model has what it thought before in ``reasoning_content``, also if that was nothing.
    """
    stated = instructions and instructions.strip()
    entries = [{"role": "system", "content": instructions}] if stated else []
    fit = well_formed(messages)
    ids = ToolIds(fit)
    thought = ""
    for message in fit:
        if isinstance(message, ReasoningMessage):
            thought += message.content
            continue
        entry = _entry(message, ids, media)
        if entry is None:
            continue
        if reasoning and entry["role"] == "assistant":
            # Whoever demands it refuses the request for one message without it, of any turn.
            entry["reasoning_content"], thought = thought, ""
        elif entry["role"] == "user":
            thought = ""
        if entries and _continues(entries[-1], entry):
            entries[-1] = _joined(entries[-1], entry)
        else:
            entries.append(entry)
    return entries


def _continues(before: Entry, entry: Entry) -> bool:
    role = entry["role"]
    return role in ("user", "assistant") and before["role"] == role and "tool_calls" not in before


def _joined(before: Entry, entry: Entry) -> Entry:
    """One message of two; thoughts of the model included."""
    joined = {**before, **entry, "content": _contents(before["content"], entry["content"])}
    if "reasoning_content" in before:
        joined["reasoning_content"] = before["reasoning_content"] + entry["reasoning_content"]
    return joined


def _contents(one: str | list[Entry] | None, other: str | list[Entry] | None) -> Any:
    if not one or not other:
        return one or other
    if isinstance(one, str) and isinstance(other, str):
        return f"{one}\n\n{other}"
    parts = ([_text(said)] if isinstance(said, str) else said for said in (one, other))
    return [part for said in parts for part in said]


def tool_entries(tools: Sequence[Tool]) -> list[Entry]:
    """The ``tools`` of a request."""
    return [
        {
            "type": "function",
            "function": {
                **described(tool),
                "parameters": tool.parameters or {"type": "object", "properties": {}},
            },
        }
        for tool in tools
    ]


def _entry(message: Message, ids: ToolIds, media: bool) -> Entry | None:
    match message:
        case UserMessage(content=content):
            return {"role": "user", "content": _user_content(content, media)}
        case SystemMessage(content=text) | DeveloperMessage(content=text):
            # Compatible servers support only "system"; OpenAI reads it as "developer".
            return {"role": "system", "content": text} if text.strip() else None
        case AssistantMessage():
            return _assistant(message, ids)
        case ToolMessage(tool_call_id=call, content=content, error=error):
            text = readable(content) or error or ""
            return {"role": "tool", "tool_call_id": ids.of_result(call), "content": text}
        case _:
            return None


def _user_content(content: Content, media: bool) -> str | list[Entry]:
    """Text as a string, which every server takes; parts only where there is more than text."""
    parts = [] if isinstance(content, str) or not media else [_part(one) for one in content]
    if all(part["type"] == "text" for part in parts):
        text = readable(content)
        return text if text.strip() else EMPTY_MESSAGE
    return [part for part in parts if part["type"] != "text" or part["text"].strip()]


def _part(part: ContentPart) -> Entry:
    if isinstance(part, TextPart):
        return _text(part.text)
    one = provider_media(part)
    return (_media(one) if one else None) or _text(media_in_words(part))


def _text(text: str) -> Entry:
    return {"type": "text", "text": text}


def _media(one: ProviderMedia) -> Entry | None:
    match one:
        case ProviderMedia(kind="image"):
            return {"type": "image_url", "image_url": {"url": one.data_url}}
        case ProviderMedia(kind="pdf", url=""):
            file = {"filename": one.name or "document.pdf", "file_data": one.data_url}
            return {"type": "file", "file": file}
        case ProviderMedia(kind="sound"):
            sound = {"data": one.data, "format": SOUNDS[one.mime_type]}
            return {"type": "input_audio", "input_audio": sound}
        case ProviderMedia(kind="text"):
            return _text(f"{one.name}:\n{one.data}" if one.name else one.data)
        case _:
            return None  # chat completions take no address of a document


def _assistant(message: AssistantMessage, ids: ToolIds) -> Entry | None:
    calls = [_call(call, ids) for call in message.tool_calls or ()]
    text = message.content if message.content and message.content.strip() else None
    if calls:
        return {"role": "assistant", "content": text, "tool_calls": calls}
    return {"role": "assistant", "content": text} if text else None


def _call(call: ToolCall, ids: ToolIds) -> Entry:
    function = {
        "name": tool_name(call.function.name),
        "arguments": _arguments(call.function.arguments),
    }
    entry: Entry = {"id": ids.of_call(call.id), "type": "function", "function": function}
    if call.encrypted_value is not None and call.encrypted_value.startswith(EXTRA):
        entry["extra_content"] = json_value(call.encrypted_value.removeprefix(EXTRA))
    return entry


def _arguments(text: str) -> str:
    """The arguments of a call; ``{}`` if they are invalid, which many servers refuse."""
    return text if tool_arguments(text) is not None else "{}"
