"""Runs of any size in a log, and all pages of it, joined as a client joins them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.codec import Entry, encode_event
from agentws.protocol.merge import cut_delta, split_delta
from agentws.protocol.parts import is_cut
from agentws.protocol.sizes import PAGE
from agentws.sessions.pages import Page
from agentws.sessions.session import Session

MIB = 1024 * 1024


def size_of(messages: Sequence[m.Message]) -> int:
    return len(msgspec.json.encode(messages))


async def say(session: Session, run: str, events: list[e.Event], *, end: bool = True) -> None:
    """Appends a run as its writer does: text in several deltas."""
    given_ = m.RunAgentInput(session.id, run, [m.UserMessage(f"question-{run}", "?")])
    every: list[e.Event] = [e.RunStarted(session.id, run, None, None, given_), *events]
    if end:
        every.append(e.RunFinished(session.id, run))
    entries: list[Entry] = []
    for event in every:
        data = encode_event(event, run=run)
        head, text = split_delta(data)
        datas = [data] if head is None else cut_delta(head, text)
        entries += [Entry(one, event, run) for one in datas]
    for at in range(0, len(entries), 20):
        # Without a fence the session checks the sizes that a run would have checked itself.
        await session.append_entries(entries[at : at + 20])


def text(id: str, content: str) -> list[e.Event]:
    delta = e.TextMessageContent(message_id=id, delta=content)
    return [e.TextMessageStart(id), delta, e.TextMessageEnd(id)]


def call(id: str, arguments: str, parent: str | None = None) -> list[e.Event]:
    return [
        e.ToolCallStart(id, "look", parent),
        e.ToolCallArgs(tool_call_id=id, delta=arguments),
        e.ToolCallEnd(id),
    ]


def result(call: str, content: str) -> e.Event:
    return e.ToolCallResult(f"result-{call}", call, content)


async def pages_of(session: Session, size: int = PAGE, messages: int = 20) -> list[Page]:
    """All pages, the newest first."""
    pages = [(await session.snapshot(messages=messages, size=size)).page]
    while (before := pages[-1].before) is not None:
        pages.append(await session.page_before(before, messages=messages, size=size))
    return pages


def joined(pages: Sequence[Page]) -> list[m.Message]:
    """The messages that a client joins from pages, the newest first, as the protocol says."""
    known: list[m.Message] = []
    for page in pages:
        newer = {message.id: message for message in known}
        begun = {one.id for one in page.messages if one.id in newer and is_cut(newer[one.id])}
        older = [
            _join(one, newer[one.id]) if one.id in begun else one
            for one in page.messages
            if one.id in begun or one.id not in newer
        ]
        known = [*older, *(one for one in known if one.id not in begun)]
    return known


def _join(older: m.Message, newer: m.Message) -> m.Message:
    metadata = dict(newer.metadata or {})
    ours = {key: value for key, value in metadata.pop("agentws", {}).items() if key != "cut"}
    if is_cut(older):
        ours["cut"] = True
    if ours:
        metadata["agentws"] = ours
    assert not isinstance(newer, m.ToolMessage | m.ActivityMessage)
    assert type(older) is type(newer)
    both = (older.content, newer.content)
    content = None if both == (None, None) else "".join(str(one or "") for one in both)
    changes: dict[str, object] = {"content": content, "metadata": metadata or None}
    if isinstance(newer, m.AssistantMessage):
        assert isinstance(older, m.AssistantMessage)
        calls = {one.id: one for one in older.tool_calls or ()}
        for one in newer.tool_calls or ():
            before = calls[one.id].function.arguments if one.id in calls else ""
            function = m.FunctionCall(one.function.name, before + one.function.arguments)
            calls[one.id] = msgspec.structs.replace(one, function=function)
        changes["tool_calls"] = list(calls.values()) or None
    return msgspec.structs.replace(newer, **changes)


async def check(session: Session, *, largest: int = PAGE + 2, size: int = PAGE) -> list[Page]:
    pages = await pages_of(session, size)
    assert joined(pages) == await session.messages()
    for page in pages:
        assert size_of(page.messages) <= largest
    return pages
