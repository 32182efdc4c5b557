"""A conversation as the messages of Anthropic's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..agents.llm import readable
from ..agents.prompt import EMPTY_MESSAGE, well_formed
from ..protocol.messages import (
    AssistantMessage,
    Content,
    ContentPart,
    Message,
    ReasoningMessage,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from .media import ProviderMedia, media_in_words, provider_media
from .tool_names import ToolIds, described, tool_arguments, tool_name

Block = dict[str, Any]

SIGNATURE: Final = "anthropic.thinking:"
REDACTED: Final = "anthropic.redacted_thinking:"
"""Begin the sealed value of a reasoning message: its signature, or all of it in encrypted form."""


def conversation(messages: Sequence[Message], *, media: bool = True) -> list[Block]:
    """The messages as the API requires them.

    The first and the last are the user's, the roles alternate, and all results of one step are in
    one message. Reasoning that this provider signed is sent back unchanged, as the API demands
    while tools are used. Without ``media``, images and files are named in text.
    """
    fit = well_formed(messages)
    ids = ToolIds(fit)
    entries: list[Block] = []
    for role, blocks in (_blocks(message, ids, media) for message in fit):
        if not blocks:
            continue
        if entries and entries[-1]["role"] == role:
            entries[-1]["content"] += blocks
        else:
            entries.append({"role": role, "content": blocks})
    return _framed([entry for entry in entries if _without_idle_thoughts(entry)])


def tool_entries(tools: Sequence[Tool]) -> list[Block]:
    """The ``tools`` of a request."""
    return [
        {
            **described(tool),
            "input_schema": tool.parameters or {"type": "object", "properties": {}},
        }
        for tool in tools
    ]


def _without_idle_thoughts(entry: Block) -> bool:
    """Removes thoughts that nothing follows, which the API refuses; whether anything is left."""
    blocks = entry["content"]
    while blocks and blocks[-1]["type"] in ("thinking", "redacted_thinking"):
        blocks.pop()
    return bool(blocks)


def _framed(entries: list[Block]) -> list[Block]:
    if entries and entries[0]["role"] == "assistant":
        entries.insert(0, {"role": "user", "content": [_text("[The conversation begins.]")]})
    if not entries or entries[-1]["role"] == "assistant":
        entries.append({"role": "user", "content": [_text("[Please go on.]")]})
    return entries


def _blocks(message: Message, ids: ToolIds, media: bool) -> tuple[str, list[Block]]:
    match message:
        case UserMessage(content=content):
            return "user", _user_content(content, media)
        case AssistantMessage(content=content, tool_calls=calls):
            said = [_text(content)] if content and content.strip() else []
            return "assistant", said + [_tool_use(call, ids) for call in calls or ()]
        case ReasoningMessage():
            return "assistant", _thinking(message)
        case ToolMessage():
            return "user", [_tool_result(message, ids, media)]
        case _:
            return "", []


def _thinking(message: ReasoningMessage) -> list[Block]:
    """Nothing for reasoning of another provider, or that was stopped before it was signed."""
    sealed = message.encrypted_value or ""
    if sealed.startswith(SIGNATURE):
        signature = sealed.removeprefix(SIGNATURE)
        return [{"type": "thinking", "thinking": message.content, "signature": signature}]
    if sealed.startswith(REDACTED):
        return [{"type": "redacted_thinking", "data": sealed.removeprefix(REDACTED)}]
    return []


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _user_content(content: Content, media: bool) -> list[Block]:
    """Text in one block; parts only where there is more than text."""
    parts = _parts(content) if isinstance(content, list) and media else []
    if all(part["type"] == "text" for part in parts):
        text = readable(content)
        return [_text(text if text.strip() else EMPTY_MESSAGE)]
    return parts


def _parts(content: Sequence[ContentPart]) -> list[Block]:
    parts = [_part(one) for one in content]
    return [part for part in parts if part["type"] != "text" or part["text"].strip()]


def _part(part: ContentPart) -> Block:
    if isinstance(part, TextPart):
        return _text(part.text)
    one = provider_media(part)
    return (_media(one) if one else None) or _text(media_in_words(part))


def _media(one: ProviderMedia) -> Block | None:
    match one.kind:
        case "image":
            return {"type": "image", "source": _source(one)}
        case "pdf" | "text":
            document: Block = {"type": "document", "source": _source(one)}
            return document | {"title": one.name} if one.name else document
        case "sound":
            return None


def _source(one: ProviderMedia) -> Block:
    if one.url:
        return {"type": "url", "url": one.url}
    if one.kind == "text":
        return {"type": "text", "media_type": "text/plain", "data": one.data}
    return {"type": "base64", "media_type": one.mime_type, "data": one.data}


def _tool_use(call: ToolCall, ids: ToolIds) -> Block:
    return {
        "type": "tool_use",
        "id": ids.of_call(call.id),
        "name": tool_name(call.function.name),
        "input": tool_arguments(call.function.arguments) or {},
    }


def _tool_result(message: ToolMessage, ids: ToolIds, media: bool) -> Block:
    said: str | list[Block] = readable(message.content) or message.error or ""
    failed = message.error is not None
    if isinstance(message.content, list) and media:
        parts = _parts(message.content)
        said = parts if any(part["type"] != "text" for part in parts) else said
    return {
        "type": "tool_result",
        "tool_use_id": ids.of_result(message.tool_call_id),
        # The API refuses an error without text.
        "content": said or ("The tool failed." if failed else ""),
        "is_error": failed,
    }
