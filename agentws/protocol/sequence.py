"""The order of events in one run, and the events that close what is still open.

The rules are AG-UI 1.0's; its verifier rejects a run that breaks them. They are one table: an
event opens, continues or closes something (a message, a call, ...), or is legal anywhere. Text and
chunks that an agent yields become explicit START, CONTENT and END events, so every log can be
verified.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, Final, Literal, NamedTuple

import msgspec

from ..errors import InvalidEvent
from . import events as e
from .events import Attributed, Event

Kind = Literal[
    "text message", "tool call", "reasoning message", "reasoning span", "step", "subagent"
]
"""What can be open in a run."""

Verb = Literal["open", "continue", "close"]


class Rule(NamedTuple):
    kind: Kind
    verb: Verb
    id: str
    """The attribute that identifies which one."""


RULES: Final[dict[type[Event], Rule]] = {
    e.TextMessageStart: Rule("text message", "open", "message_id"),
    e.TextMessageContent: Rule("text message", "continue", "message_id"),
    e.TextMessageEnd: Rule("text message", "close", "message_id"),
    e.ToolCallStart: Rule("tool call", "open", "tool_call_id"),
    e.ToolCallArgs: Rule("tool call", "continue", "tool_call_id"),
    e.ToolCallEnd: Rule("tool call", "close", "tool_call_id"),
    e.ReasoningMessageStart: Rule("reasoning message", "open", "message_id"),
    e.ReasoningMessageContent: Rule("reasoning message", "continue", "message_id"),
    e.ReasoningMessageEnd: Rule("reasoning message", "close", "message_id"),
    e.ReasoningStart: Rule("reasoning span", "open", "message_id"),
    e.ReasoningEnd: Rule("reasoning span", "close", "message_id"),
    e.StepStarted: Rule("step", "open", "step_name"),
    e.StepFinished: Rule("step", "close", "step_name"),
    e.SubagentStarted: Rule("subagent", "open", "subagent_run_id"),
    e.SubagentFinished: Rule("subagent", "close", "subagent_run_id"),
    e.SubagentError: Rule("subagent", "close", "subagent_run_id"),
}

RULED_TYPES: Final = frozenset(str(event.__struct_config__.tag) for event in RULES)
"""Their types on the wire."""

ALONE: Final[frozenset[type[Event]]] = frozenset(
    {
        e.ToolCallResult,
        e.StateSnapshot,
        e.StateDelta,
        e.MessagesSnapshot,
        e.ActivitySnapshot,
        e.ActivityDelta,
        e.Raw,
        e.Custom,
        e.ReasoningEncryptedValue,
        e.NoticePosted,
        e.SessionUpdated,
    }
)
"""Legal anywhere in a run; they open and close nothing."""

TERMINAL: Final = (e.RunFinished, e.RunError)

_STEPS: Final = (e.StepStarted, e.StepFinished)

_CLOSING_ORDER: Final = (
    "text message",
    "tool call",
    "reasoning message",
    "reasoning span",
    "step",
    "subagent",
)


class Key(msgspec.Struct, frozen=True, gc=False):
    """Identifies something open: a message, call, step, ..."""

    kind: Kind
    id: str
    owner: str | None = None
    """The subagent of a step, since two subagents may be in steps of the same name."""


class Lane(msgspec.Struct, frozen=True, gc=False):
    """The message or call that text and chunks without an id are appended to."""

    key: Key
    owner: str | None
    """The subagent it belongs to. A chunk of another subagent opens a new message."""


Chunk = e.TextMessageChunk | e.ToolCallChunk | e.ReasoningMessageChunk


class RunSequence:
    """What is open in one run. Messages without an id get one that is derived from the run's."""

    __slots__ = ("_lane", "_named", "_open", "_owners", "_run", "_subagents", "speaker")

    def __init__(self, run: str, *, speaker: str | None = None) -> None:
        self.speaker = speaker
        """The name for the assistant's messages that have none; ``None`` leaves them without."""
        self._run = run
        self._named = 0
        self._open: dict[Key, Event] = {}
        self._subagents: Set[str] = frozenset()
        self._owners: dict[str, str | None] = {}
        self._lane: Lane | None = None

    def __repr__(self) -> str:
        return f"<RunSequence open={[f'{key.kind} {key.id}' for key in self._open]}>"

    # What the agent yields

    def begin_text(self) -> tuple[list[Event], str]:
        """Opens a message for text, if none is; returns the events for that, and its id."""
        opening, key = self._enter_lane("text message", None, None, self._text_start)
        return opening, key.id

    def admit(self, event: Event) -> list[Event]:
        """``event`` as explicit events in a legal order. Raises InvalidEvent if it is illegal."""
        match event:
            case e.TextMessageChunk():
                return self._text_chunk(event)
            case e.ToolCallChunk():
                return self._tool_chunk(event)
            case e.ReasoningMessageChunk():
                return self._reasoning_chunk(event)
            case e.TextMessageStart():
                event = self._signed(event)
        rule = RULES.get(type(event))
        if rule is None:
            if type(event) not in ALONE:
                raise InvalidEvent(f"An agent may not yield {_name(event)}.")
            return [event]
        if isinstance(event, e.StepFinished):
            event = self._attributed(event)
        key = self._apply(rule, event)
        before = self._leave_lane() if self._ends_lane(rule, key) else []
        return [*before, event]

    def end_text(self) -> list[Event]:
        """The event that closes the message of the agent's text; later text opens a new one."""
        lane = self._lane
        return self._leave_lane() if lane is not None and lane.key.kind == "text message" else []

    def close(self) -> list[Event]:
        """The events that close everything open, innermost kinds first. Nothing is open then."""
        closing = self._leave_lane()
        if not self._open:
            return closing
        for kind in _CLOSING_ORDER:
            of_kind = [opener for key, opener in self._open.items() if key.kind == kind]
            closing += [_CLOSERS[type(opener)](opener) for opener in reversed(of_kind)]
        self._open.clear()
        return closing

    def _text_start(self, id: str) -> Event:
        return e.TextMessageStart(id, name=self.speaker)

    def _signed(self, event: e.TextMessageStart) -> e.TextMessageStart:
        """``event`` with the speaker's name, if it begins an assistant's message without one."""
        assistants = event.role in (None, "assistant") and event.subagent_run_id is None
        if self.speaker is None or event.name is not None or not assistants:
            return event
        return msgspec.structs.replace(event, name=self.speaker)

    # Rules

    def _apply(self, rule: Rule, event: Event) -> Key:
        key = _key(rule, event)
        if rule.verb == "open":
            self._open_new(key, event)
            return key
        opener = self._open.get(key)
        if opener is None:
            raise InvalidEvent(f"{_name(event)} for a {rule.kind} that is not open.")
        _same_owner(opener, event)
        if rule.verb == "close":
            del self._open[key]
        return key

    def _open_new(self, key: Key, event: Event) -> None:
        if key in self._open:
            raise InvalidEvent(f"{_name(event)} for a {key.kind} that is already open.")
        match event:
            case e.TextMessageStart() | e.ReasoningMessageStart():
                self._owners.setdefault(key.id, event.subagent_run_id)
            case e.ToolCallStart():
                self._check_caller(event)
            case e.SubagentStarted():
                self._begin_subagent(event)
        self._open[key] = event

    def _begin_subagent(self, event: e.SubagentStarted) -> None:
        if event.subagent_run_id in self._subagents:
            raise InvalidEvent("SUBAGENT_STARTED for a subagent that was started before.")
        if event.parent_subagent_run_id not in (None, *self._subagents):
            raise InvalidEvent("SUBAGENT_STARTED below a subagent that was never started.")
        self._subagents |= {event.subagent_run_id}

    def _check_caller(self, event: e.ToolCallStart) -> None:
        owner, parent = event.subagent_run_id, event.parent_message_id
        if owner is not None and parent in self._owners and self._owners[parent] != owner:
            raise InvalidEvent("TOOL_CALL_START belongs to another subagent than its message.")

    def _attributed(self, event: e.StepFinished) -> Event:
        """In AG-UI a step belongs to a subagent. An end that names none means the open step's."""
        owners = {key.owner for key in self._open if key == Key("step", event.step_name, key.owner)}
        if event.subagent_run_id is None and len(owners) == 1:
            return msgspec.structs.replace(event, subagent_run_id=owners.pop())
        return event

    # Lanes: text and chunks

    def _ends_lane(self, rule: Rule, key: Key) -> bool:
        """Whether a lane ends: another message or call opens, or a step or subagent closes."""
        if self._lane is None:
            return False
        if key == self._lane.key:
            return False
        return rule.verb == "open" or rule.kind in ("step", "subagent")

    def _leave_lane(self) -> list[Event]:
        lane, self._lane = self._lane, None
        if lane is None or (opener := self._open.pop(lane.key, None)) is None:
            return []
        return [_CLOSERS[type(opener)](opener)]

    def _new_id(self) -> str:
        """A new message id. Run ids are unique, so a counter within the run is enough."""
        self._named += 1
        return f"msg_{self._run.removeprefix('run_')}_{self._named}"

    def _enter_lane(
        self, kind: Kind, id: str | None, owner: str | None, opener: Callable[[str], Event]
    ) -> tuple[list[Event], Key]:
        """The key of the lane for this kind, id and owner, and the events that open it, if any."""
        lane = self._lane
        if (
            lane is not None
            and lane.key in self._open
            and lane.key.kind == kind
            and id in (None, lane.key.id)
            and owner in (None, lane.owner)
        ):
            return [], lane.key
        id = id or self._new_id()
        start, key = opener(id), Key(kind, id)
        # Before the lane is left, so that an event that is refused changes nothing.
        self._open_new(key, start)
        out = [start] if lane is None else [*self._leave_lane(), start]
        self._lane = Lane(key, owner)
        return out, key

    def _chunk(
        self, kind: Kind, id: str | None, chunk: Chunk, opener: Callable[[str], Event]
    ) -> list[Event]:
        """The metadata of a chunk goes to the first event that the chunk becomes."""
        out, key = self._enter_lane(kind, id, chunk.subagent_run_id, opener)
        common = {} if out else _common_members(chunk)
        if chunk.delta or common:
            out.append(_CONTENT[kind](key.id, chunk.delta or "", common))
        return out

    def _text_chunk(self, chunk: e.TextMessageChunk) -> list[Event]:
        def opener(id: str) -> Event:
            start = e.TextMessageStart(
                id,
                role=chunk.role,
                name=chunk.name,
                subagent_run_id=chunk.subagent_run_id,
                **_common_members(chunk),
            )
            return self._signed(start)

        return self._chunk("text message", chunk.message_id, chunk, opener)

    def _tool_chunk(self, chunk: e.ToolCallChunk) -> list[Event]:
        def opener(id: str) -> Event:
            if chunk.tool_call_id is None or chunk.tool_call_name is None:
                raise InvalidEvent(
                    "The first TOOL_CALL_CHUNK of a call lacks its id or name.",
                    expected="toolCallId and toolCallName",
                )
            return e.ToolCallStart(
                id,
                chunk.tool_call_name,
                chunk.parent_message_id,
                subagent_run_id=chunk.subagent_run_id,
                **_common_members(chunk),
            )

        return self._chunk("tool call", chunk.tool_call_id, chunk, opener)

    def _reasoning_chunk(self, chunk: e.ReasoningMessageChunk) -> list[Event]:
        def opener(id: str) -> Event:
            owner = chunk.subagent_run_id
            return e.ReasoningMessageStart(
                id, "reasoning", subagent_run_id=owner, **_common_members(chunk)
            )

        return self._chunk("reasoning message", chunk.message_id, chunk, opener)


def _key(rule: Rule, event: Event) -> Key:
    owner = event.subagent_run_id if isinstance(event, _STEPS) else None
    return Key(rule.kind, getattr(event, rule.id), owner)


def _common_members(chunk: Chunk) -> dict[str, Any]:
    """The members of a chunk that any event may have."""
    members = {
        "timestamp": chunk.timestamp,
        "metadata": chunk.metadata,
        "raw_event": chunk.raw_event,
    }
    return {name: value for name, value in members.items() if value is not None}


def _text_content(id: str, delta: str, common: dict[str, Any]) -> Event:
    return e.TextMessageContent(message_id=id, delta=delta, **common)


def _tool_args(id: str, delta: str, common: dict[str, Any]) -> Event:
    return e.ToolCallArgs(tool_call_id=id, delta=delta, **common)


def _reasoning_content(id: str, delta: str, common: dict[str, Any]) -> Event:
    return e.ReasoningMessageContent(message_id=id, delta=delta, **common)


_CONTENT: Final[dict[Kind, Callable[[str, str, dict[str, Any]], Event]]] = {
    "text message": _text_content,
    "tool call": _tool_args,
    "reasoning message": _reasoning_content,
}


_CLOSERS: Final[dict[type[Event], Callable[[Any], Event]]] = {
    e.TextMessageStart: lambda opener: e.TextMessageEnd(
        opener.message_id, subagent_run_id=opener.subagent_run_id
    ),
    e.ToolCallStart: lambda opener: e.ToolCallEnd(
        opener.tool_call_id, subagent_run_id=opener.subagent_run_id
    ),
    e.ReasoningMessageStart: lambda opener: e.ReasoningMessageEnd(
        opener.message_id, subagent_run_id=opener.subagent_run_id
    ),
    e.ReasoningStart: lambda opener: e.ReasoningEnd(
        opener.message_id, subagent_run_id=opener.subagent_run_id
    ),
    e.StepStarted: lambda opener: e.StepFinished(
        opener.step_name, subagent_run_id=opener.subagent_run_id
    ),
    e.SubagentStarted: lambda opener: e.SubagentError(
        opener.subagent_run_id, "The run ended.", "interrupted"
    ),
}
"""The event that closes what an event of this type has opened."""


def _same_owner(opener: Event, event: Event) -> None:
    """Raises InvalidEvent when the two name different subagents; naming none is legal."""
    if not (isinstance(opener, Attributed) and isinstance(event, Attributed)):
        return
    if event.subagent_run_id not in (None, opener.subagent_run_id):
        raise InvalidEvent(f"{_name(event)} belongs to another subagent than its start.")


def _name(event: Event) -> str:
    return str(event.__struct_config__.tag)
