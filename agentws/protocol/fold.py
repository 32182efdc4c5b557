"""The fold (reducer) of a log: its messages, shared state, queue and active run.

Folding a log in pieces gives the same result as folding it whole; a property test checks that.
A fold may begin at any position where no run is active. It then knows only that part of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from . import events as e
from . import messages as m
from .branches import MARK, UNBRANCHED, forgotten_at, mark, with_mark
from .codec import Record, decode_record, event_type
from .events import Event
from .message_builders import Builder, activity_message, reasoning_message, text_message
from .outline import OUTLINE_TYPES, Outline

STATUS_KEY: Final = "agentws"
"""The member of a message's metadata that says how its run ended: cancelled, or with an error."""


class _Left(NamedTuple):
    """A branch that went out of view."""

    after: str | None
    """The id of the message before it; ``None`` when it was the whole conversation."""
    messages: dict[str, Builder]

    def put_back(self, view: Mapping[str, Builder]) -> dict[str, Builder]:
        """``view`` with these messages where they were.

        What was said since then comes after them: another message may have gone first, before the
        one with which the next branch began.
        """
        ids = list(view)
        at = next((at for at, id in enumerate(ids, start=1) if id == self.after), 0)
        later = {id: view[id] for id in ids[at:]}
        return {**{id: view[id] for id in ids[:at]}, **self.messages, **later}


class Fold:
    """The state of one fold. Feed it the log's records in order with :meth:`apply_all`."""

    __slots__ = (
        "_branches",
        "_builders",
        "_calls",
        "_left",
        "_run_messages",
        "agent",
        "outline",
        "title",
    )

    def __init__(self) -> None:
        self._builders: dict[str, Builder] = {}
        self._calls: dict[str, Builder] = {}
        self._left: dict[str, _Left] = {}
        """The messages of branches that went out of view, by branch."""
        self._branches = UNBRANCHED
        """The branches after the last event that changed them."""
        self._run_messages: list[str] = []
        self.outline = Outline()
        self.title: str | None = None
        self.agent: str | None = None
        """The session's agent, if the log has changed it."""

    def __repr__(self) -> str:
        return f"<Fold messages={len(self._builders)} {self.outline!r}>"

    @property
    def messages(self) -> list[m.Message]:
        """The conversation as AG-UI messages; a message that is still open has the text so far."""
        return [builder.build() for builder in self._builders.values()]

    @property
    def last(self) -> str | None:
        """The id of the newest message; ``None`` when there is none."""
        return next(reversed(self._builders), None)

    @property
    def state(self) -> Any:
        """The shared state, a JSON value; ``None`` when no agent has set any."""
        return self.outline.state

    def apply_all(self, records: Iterable[Record]) -> Fold:
        """Applies the next records of the log.

        Records of other event types are skipped undecoded, so a log that a newer version of this
        library wrote to can be folded.
        """
        for record in records:
            if event_type(record.data) in _TYPES:
                body = decode_record(record.data)
                self.apply(body.event, body.run)
        return self

    def apply(self, event: Event, run: str | None = None) -> None:
        """Applies the next event of the log. Never raises for an event that may be in a log."""
        self.outline.apply(event, run)
        handle = _HANDLERS.get(type(event))
        if handle is not None:
            handle(self, event, run)

    # Runs

    def _start(self, event: e.RunStarted, run: str | None) -> None:
        self._run_messages = []
        for message in event.input.messages if event.input else ():
            self._run_messages.append(message.id)
            if message.id not in self._builders:
                self._builders[message.id] = Builder(message)

    def _finish(self, event: e.RunFinished, run: str | None) -> None:
        cancelled = isinstance(event.outcome, m.CancelledOutcome)
        self._end({"status": "cancelled"} if cancelled else None)

    def _fail(self, event: e.RunError, run: str | None) -> None:
        self._end({"status": "error", "code": event.code, "message": event.message})

    def _end(self, status: dict[str, Any] | None) -> None:
        spoken = [self._builders[id] for id in self._run_messages if id in self._builders]
        if status is not None and spoken:
            kept = {name: value for name, value in status.items() if value is not None}
            assistants = [one for one in spoken if one.kind is m.AssistantMessage]
            last = (assistants or spoken)[-1]
            ours = (last.build().metadata or {}).get(STATUS_KEY)
            if isinstance(ours, dict) and MARK in ours:
                kept[MARK] = ours[MARK]
            last.add_metadata({STATUS_KEY: kept})
        self._run_messages = []

    def _clear(self, event: e.HistoryCleared, run: str | None) -> None:
        """Later deltas of a message that began before this are ignored: the message is gone."""
        self._builders = {}
        self._calls = {}
        self._left = {}
        self._run_messages = []

    def _branch(self, event: e.HistoryBranched, run: str | None) -> None:
        """Takes the end of the conversation out of view, and brings back a branch that it knows."""
        ids = list(self._builders)
        back = self._left.pop(event.branch, None)
        if event.replaced in self._builders:
            at = ids.index(event.replaced)
        else:
            # Without the message, a fold that began after it has only what follows it.
            at = 0 if back is None else len(ids)
        gone = {id: self._builders.pop(id) for id in ids[at:]}
        self._left[event.left] = _Left(ids[at - 1] if at else None, gone)
        if back is not None:
            self._builders = back.put_back(self._builders)
        begins = self._builders.get(event.message_id)
        message = None if begins is None else begins.build()
        if isinstance(message, m.UserMessage):
            # One is left where a branch was withdrawn: a place with one branch names none.
            several = len(event.branches) > 1
            marked = with_mark(message, mark(event.branch, event.branches) if several else None)
            self._builders[message.id] = Builder(marked)
        self._mark_forgotten(event)
        self._index_calls()

    def _mark_forgotten(self, event: e.HistoryBranched) -> None:
        """Corrects the marks of other places whose oldest branches are forgotten now."""
        before, self._branches = self._branches, self.outline.branches
        for id, branches in forgotten_at(before, self._branches, event).items():
            for messages in (self._builders, *(left.messages for left in self._left.values())):
                marked = messages[id].build() if id in messages else None
                if isinstance(marked, m.UserMessage):
                    messages[id] = Builder(with_mark(marked, branches))

    def _rename(self, event: e.SessionUpdated, run: str | None) -> None:
        self.title = event.title or self.title
        self.agent = event.agent or self.agent

    def _take_steering(self, event: e.MessageSteered, run: str | None) -> None:
        """Shows the message where the run took it."""
        accepted = self.outline.delivered.get(event.message_id)
        if accepted is not None and event.message_id not in self._builders:
            self._run_messages.append(event.message_id)
            self._builders[event.message_id] = Builder(accepted.message)

    # Snapshots

    def _replace_messages(self, event: e.MessagesSnapshot, run: str | None) -> None:
        """AG-UI: a snapshot replaces the messages it contains and removes those it omits.

        In a run it is an agent's view of its history, which rarely contains activities and
        reasoning. Those are kept unless the snapshot contains messages of the same type. Kept
        messages keep their order, and new ones follow them.
        """
        fresh = {message.id: Builder(message) for message in event.messages}
        kept: dict[str, Builder] = {}
        if run is not None:
            stay = _RARELY_IN_SNAPSHOTS - {type(message) for message in event.messages}
            for id, builder in self._builders.items():
                if id in fresh or builder.kind in stay:
                    kept[id] = fresh.get(id, builder)
        self._builders = {**kept, **fresh}
        self._index_calls()

    def _index_calls(self) -> None:
        self._calls = {
            call.id: builder for builder in self._builders.values() for call in builder.calls
        }

    # What the agent says

    def _begin(self, message: m.Message) -> None:
        """Adds a message; a known id is continued, as AG-UI's reducer does."""
        known = self._builders.get(message.id)
        if known is not None:
            known.add_metadata(message.metadata)
            return
        self._builders[message.id] = Builder(message)
        self._run_messages.append(message.id)

    def _begin_text(self, event: e.TextMessageStart, run: str | None) -> None:
        self._begin(text_message(event))

    def _begin_reasoning(self, event: e.ReasoningMessageStart, run: str | None) -> None:
        self._begin(reasoning_message(event))

    def _append(
        self, event: e.TextMessageContent | e.ReasoningMessageContent, run: str | None
    ) -> None:
        builder = self._builders.get(event.message_id)
        if builder is not None:
            builder.append(event.delta)
            builder.add_metadata(event.metadata)

    def _close(self, event: e.TextMessageEnd | e.ReasoningMessageEnd, run: str | None) -> None:
        builder = self._builders.get(event.message_id)
        if builder is not None:
            builder.add_metadata(event.metadata)

    def _add_encrypted_value(self, event: e.ReasoningEncryptedValue, run: str | None) -> None:
        id, value = event.entity_id, event.encrypted_value
        if event.subtype == "message":
            if (builder := self._builders.get(id)) is not None:
                builder.set_encrypted_value(value)
        elif (caller := self._calls.get(id)) is not None:
            caller.change_call(id, encrypted_value=value)

    def _begin_call(self, event: e.ToolCallStart, run: str | None) -> None:
        """AG-UI: a call without a known parent message gets an assistant message of its own.

        A known call stays in its message: arguments and results refer to a call, not to a message.
        """
        if (caller := self._calls.get(event.tool_call_id)) is not None:
            caller.change_call(event.tool_call_id, metadata=event.metadata)
            return
        parent_id = event.parent_message_id or event.tool_call_id
        if parent_id not in self._builders:
            self._begin(m.AssistantMessage(parent_id, subagent_run_id=event.subagent_run_id))
        parent = self._builders[parent_id]
        if parent.kind is m.AssistantMessage:
            parent.add_call(event)
            self._calls[event.tool_call_id] = parent

    def _append_arguments(self, event: e.ToolCallArgs, run: str | None) -> None:
        id = event.tool_call_id
        if (caller := self._calls.get(id)) is not None:
            caller.append_arguments(id, event.delta)
            caller.change_call(id, metadata=event.metadata)

    def _end_call(self, event: e.ToolCallEnd, run: str | None) -> None:
        if (caller := self._calls.get(event.tool_call_id)) is not None:
            caller.change_call(event.tool_call_id, metadata=event.metadata)

    def _insert_result(self, event: e.ToolCallResult, run: str | None) -> None:
        """AG-UI: a result follows the message with its call, after earlier results of it."""
        caller = self._calls.get(event.tool_call_id)
        if caller is None or event.message_id in self._builders:
            return
        result = m.ToolMessage(
            event.message_id,
            event.content,
            event.tool_call_id,
            _error_of(event),
            subagent_run_id=event.subagent_run_id,
            metadata=event.metadata,
        )
        ids = list(self._builders)
        at = ids.index(caller.id) + 1
        while at < len(ids) and self._builders[ids[at]].kind is m.ToolMessage:
            at += 1
        self._builders[event.message_id] = Builder(result)
        if at < len(ids):
            ids.insert(at, event.message_id)
            self._builders = {id: self._builders[id] for id in ids}

    def _show_activity(self, event: e.ActivitySnapshot, run: str | None) -> None:
        known = self._builders.get(event.message_id)
        if known is None:
            self._begin(activity_message(event))
        elif event.replace is not False:
            fresh = Builder(activity_message(event))
            fresh.add_metadata({**(known.build().metadata or {}), **(event.metadata or {})})
            self._builders[event.message_id] = fresh
            self._calls = {id: one for id, one in self._calls.items() if one is not known}

    def _change_activity(self, event: e.ActivityDelta, run: str | None) -> None:
        if (activity := self._builders.get(event.message_id)) is not None:
            activity.patch(event.patch)
            activity.add_metadata(event.metadata)


def _error_of(result: e.ToolCallResult) -> str | None:
    """The sentence of a call that failed, was denied or was stopped; the event has no member."""
    status = m.told_in(result.metadata).get("status", "done")
    return None if status == "done" else m.text_of(result.content)


_RARELY_IN_SNAPSHOTS: Final[frozenset[type[m.Message]]] = frozenset(
    {m.ReasoningMessage, m.ActivityMessage}
)

_HANDLERS: Final[dict[type[Event], Callable[[Fold, Any, str | None], None]]] = {
    e.RunStarted: Fold._start,
    e.RunFinished: Fold._finish,
    e.RunError: Fold._fail,
    e.MessageSteered: Fold._take_steering,
    e.HistoryCleared: Fold._clear,
    e.HistoryBranched: Fold._branch,
    e.SessionUpdated: Fold._rename,
    e.MessagesSnapshot: Fold._replace_messages,
    e.TextMessageStart: Fold._begin_text,
    e.TextMessageContent: Fold._append,
    e.TextMessageEnd: Fold._close,
    e.ReasoningMessageStart: Fold._begin_reasoning,
    e.ReasoningMessageContent: Fold._append,
    e.ReasoningMessageEnd: Fold._close,
    e.ReasoningEncryptedValue: Fold._add_encrypted_value,
    e.ToolCallStart: Fold._begin_call,
    e.ToolCallArgs: Fold._append_arguments,
    e.ToolCallEnd: Fold._end_call,
    e.ToolCallResult: Fold._insert_result,
    e.ActivitySnapshot: Fold._show_activity,
    e.ActivityDelta: Fold._change_activity,
}

_TYPES: Final = OUTLINE_TYPES | {str(event.__struct_config__.tag) for event in _HANDLERS}
"""The wire types of the events that a fold applies."""
