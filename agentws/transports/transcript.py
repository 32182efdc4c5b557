"""A conversation as Markdown for people: who said what, and when.

What somebody said, and what a tool returned, is quoted or fenced, so that no text can pass for the
words of another. Names are escaped: they are one line of plain text wherever they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from ..protocol.attachments import FILE_ACTIVITY
from ..protocol.fold import STATUS_KEY
from ..protocol.messages import (
    ActivityMessage,
    AssistantMessage,
    Content,
    Message,
    ReasoningMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
    text_of,
)
from ..protocol.notices import Posted
from ..protocol.parts import is_cut
from ..protocol.sources import SOURCE, line_of
from ..sessions.pages import Page
from ..store import SessionInfo
from .times import iso_time

_MARKS: Final = re.compile(r"([!-/:-@\[-`{-~])")
"""Every character that may have a meaning in Markdown."""
_LINES: Final = re.compile(r"\r\n|\r|\n")
_FENCES: Final = re.compile("`{3,}")


def heading(info: SessionInfo) -> str:
    """The beginning of the document: the session's facts."""
    title = plain(info.title or "") or "Conversation"
    begun, used = (_time(seconds * 1000) for seconds in (info.created, info.updated))
    return f"# {title}\n\nWith {plain(info.agent)}, from {begun} to {used}.\n"


def blocks(page: Page, *, agent: str) -> Iterator[str]:
    """One page of the conversation, with the notices among its messages."""
    after: dict[str | None, list[Posted]] = {}
    for posted in page.notices:
        after.setdefault(posted.after, []).append(posted)
    tools: dict[str, str] = {}
    yield from map(_notice, after.get(None, ()))
    for message in page.messages:
        yield from _message(message, page.times.get(message.id), agent, tools)
        yield from map(_notice, after.get(message.id, ()))


def plain(name: str) -> str:
    """A name that somebody chose, as one line without any markup."""
    return _MARKS.sub(r"\\\1", " ".join(name.split()))


def quoted(text: str) -> str:
    return "".join(f"> {line}\n" for line in _LINES.split(text))


def fenced(text: str, language: str = "") -> str:
    """A code block; its fence is longer than any in ``text``."""
    longest = max((len(one) for one in _FENCES.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}\n"


def _message(
    message: Message, time: int | None, agent: str, tools: dict[str, str]
) -> Iterator[str]:
    match message:
        case AssistantMessage():
            yield from _said(message, message.name or agent, message.content or "", time)
            for call in message.tool_calls or ():
                tools[call.id] = call.function.name
                yield from _called(call)
        case ToolMessage(tool_call_id=id, error=error):
            name = plain(tools.get(id, "a tool"))
            yield f"\n**{'Result' if error is None else 'Error'} of {name}**\n\n"
            yield fenced(_shown(message.content) if error is None else error)
        case ActivityMessage(activity_type=kind, content=content) if kind == SOURCE:
            yield f"\nSource: {plain(line_of(content))}\n"
        case ActivityMessage(activity_type=kind, content=content) if kind == FILE_ACTIVITY:
            yield f"\nFile: {plain(str(content.get('name', 'a file')))}\n"
        case ActivityMessage(activity_type=kind, content=content):
            yield f"\n**Activity: {plain(kind)}**\n\n"
            yield fenced(msgspec.json.encode(content).decode(), "json")
        case ReasoningMessage(content=text):
            yield from _said(message, "Reasoning", text, None)
        case UserMessage(name=name):
            yield from _said(message, name or "User", _shown(message.content), time)
        case _:
            yield from _said(message, message.name or type(message).__name__, message.content, None)
    yield from map(_attachment, _attachments(message))
    yield from _status(message.metadata)


def _said(message: Message, who: str, text: str, time: int | None) -> Iterator[str]:
    if not is_cut(message):
        moment = "" if time is None else f", {_time(time)}"
        yield f"\n**{plain(who)}**{moment}\n"
    if text:
        yield f"\n{quoted(text)}"


def _called(call: ToolCall) -> Iterator[str]:
    yield f"\n**Call of {plain(call.function.name)}**\n\n"
    yield fenced(call.function.arguments, "json")


def _shown(content: Content) -> str:
    """The text of a message, and a word for each part that is not text."""
    if isinstance(content, str):
        return content
    media = (part for part in content if not isinstance(part, TextPart))
    others = [f"[{part.__struct_config__.tag}]" for part in media]
    return "\n".join([text_of(content), *others]).strip()


def _attachments(message: Message) -> Iterable[Any]:
    found = (message.metadata or {}).get("attachments")
    return found if isinstance(found, list) else ()


def _attachment(file: Any) -> str:
    """A file that was sent with a message: its id, or a member ``name``."""
    name = file.get("name", file.get("id", "a file")) if isinstance(file, Mapping) else file
    return f"\nAttachment: {plain(str(name))}\n"


def _status(metadata: Mapping[str, Any] | None) -> Iterator[str]:
    extras = (metadata or {}).get(STATUS_KEY)
    if not isinstance(extras, Mapping):
        return
    if extras.get("status") == "cancelled":
        yield "\n*The answer was stopped.*\n"
    elif extras.get("status") == "error":
        yield f"\n*The answer failed: {plain(str(extras.get('message', '')))}*\n"


def _notice(posted: Posted) -> str:
    moment = "" if posted.event.timestamp is None else f", {_time(posted.event.timestamp)}"
    return f"\n**Notice**{moment}\n\n{quoted(posted.event.content)}"


def _time(milliseconds: float) -> str:
    day, _, time = iso_time(round(milliseconds)).partition("T")
    return f"{day} {time[:5]} UTC"
