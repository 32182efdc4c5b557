"""The fold of a log into what a person or a model reads: messages, state, queue, the run going on.

A law holds, and is tested: folding a log in pieces equals folding it whole. A fold may begin at
any place where no run is active; it then knows what that part of the log says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ..errors import BadRequest
from . import events as e
from . import messages as m
from .codec import Record, decode_record, event_type
from .events import Event
from .jsonpatch import apply_patch
from .message_builders import ActivityBuilder, AssistantBuilder, Builder, Fixed, ReasoningBuilder
from .outline import Outline

STATUS_KEY: Final = "agentws"
"""Where a message's metadata says how its run ended, when it did not end well."""

_SILENT: Final = frozenset(
    {
        "TEXT_MESSAGE_END",
        "TOOL_CALL_END",
        "REASONING_START",
        "REASONING_MESSAGE_END",
        "REASONING_END",
        "STEP_STARTED",
        "STEP_FINISHED",
        "RAW",
        "CUSTOM",
        "notice.posted",
    }
)
"""Events that change nothing of a conversation: they need not be decoded for one."""


class Fold:
    """A log, folded. Feed it records in order with :meth:`apply`."""

    __slots__ = ("_builders", "_calls", "_run_messages", "outline", "state", "title")

    def __init__(self) -> None:
        self._builders: dict[str, Builder] = {}
        self._calls: dict[str, AssistantBuilder] = {}
        self._run_messages: list[str] = []
        self.outline = Outline()
        self.state: Any = None
        self.title: str | None = None

    def __repr__(self) -> str:
        return f"<Fold messages={len(self._builders)} {self.outline!r}>"

    @property
    def messages(self) -> list[m.Message]:
        """The conversation in AG-UI's terms; a message that is still open has the text so far."""
        return [builder.build() for builder in self._builders.values()]

    def apply_all(self, records: Iterable[Record]) -> Fold:
        for record in records:
            if event_type(record.data) not in _SILENT:
                body = decode_record(record.data)
                self.apply(body.event, body.run)
        return self

    def apply(self, event: Event, run: str | None = None) -> None:
        """Takes the next event of the log. Never raises for an event that a log may hold."""
        self.outline.apply(event, run)
        match event:
            case e.RunStarted():
                self._start(event)
            case e.RunFinished():
                cancelled = isinstance(event.outcome, m.CancelledOutcome)
                self._end({"status": "cancelled"} if cancelled else None)
            case e.RunError():
                self._end({"status": "error", "code": event.code, "message": event.message})
            case e.HistoryCleared():
                self._clear()
            case e.SessionUpdated():
                self.title = event.title or self.title
            case e.StateSnapshot():
                self.state = event.snapshot
            case e.StateDelta():
                self._patch_state(event)
            case e.MessagesSnapshot():
                self._restate(event.messages)
            case _:
                self._speak(event)

    # Runs

    def _start(self, event: e.RunStarted) -> None:
        self._run_messages = []
        for message in event.input.messages if event.input else ():
            self._run_messages.append(message.id)
            if message.id not in self._builders:
                self._builders[message.id] = Fixed(message)

    def _end(self, status: dict[str, Any] | None) -> None:
        spoken = [id for id in self._run_messages if id in self._builders]
        if status is not None and spoken:
            kept = {name: value for name, value in status.items() if value is not None}
            assistants = [id for id in spoken if isinstance(self._builders[id], AssistantBuilder)]
            self._builders[(assistants or spoken)[-1]].mark(STATUS_KEY, kept)
        self._run_messages = []

    def _clear(self) -> None:
        """A message that began before this is gone whole: what still comes of it finds no place."""
        self._builders.clear()
        self._calls.clear()
        self._run_messages = []

    # State and snapshots

    def _patch_state(self, event: e.StateDelta) -> None:
        try:
            self.state = apply_patch({} if self.state is None else self.state, event.delta)
        except BadRequest:
            return  # AG-UI: a patch that does not apply leaves the state as it was

    def _restate(self, messages: list[m.Message]) -> None:
        """AG-UI: a snapshot replaces what it names and drops what it omits."""
        self._builders = {}
        self._calls = {}
        for message in messages:
            if isinstance(message, m.AssistantMessage):
                builder = AssistantBuilder.restated(message)
                self._builders[message.id] = builder
                self._calls |= dict.fromkeys(builder.call_ids(), builder)
            else:
                self._builders[message.id] = Fixed(message)

    # What the agent says

    def _speak(self, event: Event) -> None:
        match event:
            case e.TextMessageStart():
                self._begin_text(event)
            case e.TextMessageContent():
                self._append(event.message_id, event.delta)
            case e.ReasoningMessageStart():
                self._begin(event.message_id, ReasoningBuilder(event.message_id, event))
            case e.ReasoningMessageContent():
                self._append(event.message_id, event.delta)
            case e.ToolCallStart():
                self._begin_call(event)
            case e.ToolCallArgs():
                if (caller := self._calls.get(event.tool_call_id)) is not None:
                    caller.argue(event.tool_call_id, event.delta)
            case e.ToolCallResult():
                self._insert_result(event)
            case e.ActivitySnapshot():
                self._begin_activity(event)
            case e.ActivityDelta():
                if isinstance(activity := self._builders.get(event.message_id), ActivityBuilder):
                    activity.patch(event.patch)
            case _:
                pass

    def _begin(self, id: str, builder: Builder) -> None:
        """Re-opening a known id goes on with it, as AG-UI's reducer does."""
        if id not in self._builders:
            self._builders[id] = builder
            self._run_messages.append(id)

    def _append(self, id: str, delta: str) -> None:
        builder = self._builders.get(id)
        if isinstance(builder, AssistantBuilder | ReasoningBuilder):
            builder.append(delta)

    def _begin_text(self, event: e.TextMessageStart) -> None:
        self._begin(event.message_id, AssistantBuilder(event.message_id, event))

    def _begin_call(self, event: e.ToolCallStart) -> None:
        """AG-UI: a call without a known parent mints an assistant message of its own."""
        parent_id = event.parent_message_id or event.tool_call_id
        self._begin(parent_id, AssistantBuilder(parent_id, None))
        parent = self._builders[parent_id]
        if isinstance(parent, AssistantBuilder):
            parent.call(event)
            self._calls[event.tool_call_id] = parent

    def _insert_result(self, event: e.ToolCallResult) -> None:
        """AG-UI: a result stands right after the message that called, and earlier results."""
        caller = self._calls.get(event.tool_call_id)
        if caller is None or event.message_id in self._builders:
            return
        result = Fixed(
            m.ToolMessage(
                event.message_id, event.content, event.tool_call_id, metadata=event.metadata
            )
        )
        ids = list(self._builders)
        at = ids.index(caller.id) + 1
        while at < len(ids) and isinstance(self._builders[ids[at]].build(), m.ToolMessage):
            at += 1
        if at == len(ids):
            self._builders[event.message_id] = result
            return
        ids.insert(at, event.message_id)
        self._builders[event.message_id] = result
        self._builders = {id: self._builders[id] for id in ids}

    def _begin_activity(self, event: e.ActivitySnapshot) -> None:
        if event.replace is False and event.message_id in self._builders:
            return
        fresh = ActivityBuilder(event)
        if event.message_id in self._builders:
            self._builders[event.message_id] = fresh
        else:
            self._begin(event.message_id, fresh)
