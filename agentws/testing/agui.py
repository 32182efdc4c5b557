"""AG-UI's rules of event order, implemented a second time, to check the product's own.

A stream of events, as plain JSON objects, is legal when :class:`Verifier` reads all of it. It is
stricter than AG-UI's own verifier in one point: nothing may be open at ``RUN_ERROR`` either.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from ..protocol.codec import Record, decode_record

Json = dict[str, Any]

_OPENS: Final = {
    "TEXT_MESSAGE_START": ("text", "messageId"),
    "TOOL_CALL_START": ("call", "toolCallId"),
    "REASONING_START": ("span", "messageId"),
    "REASONING_MESSAGE_START": ("reasoning", "messageId"),
    "STEP_STARTED": ("step", "stepName"),
    "SUBAGENT_STARTED": ("subagent", "subagentRunId"),
}
_CONTINUES: Final = {
    "TEXT_MESSAGE_CONTENT": ("text", "messageId"),
    "TOOL_CALL_ARGS": ("call", "toolCallId"),
    "REASONING_MESSAGE_CONTENT": ("reasoning", "messageId"),
}
_ENDS: Final = {
    "TEXT_MESSAGE_END": ("text", "messageId"),
    "TOOL_CALL_END": ("call", "toolCallId"),
    "REASONING_MESSAGE_END": ("reasoning", "messageId"),
    "REASONING_END": ("span", "messageId"),
    "STEP_FINISHED": ("step", "stepName"),
    "SUBAGENT_FINISHED": ("subagent", "subagentRunId"),
    "SUBAGENT_ERROR": ("subagent", "subagentRunId"),
}
_FREE: Final = frozenset(
    {
        "TOOL_CALL_RESULT",
        "STATE_SNAPSHOT",
        "STATE_DELTA",
        "MESSAGES_SNAPSHOT",
        "ACTIVITY_SNAPSHOT",
        "ACTIVITY_DELTA",
        "RAW",
        "CUSTOM",
        "REASONING_ENCRYPTED_VALUE",
    }
)


class Illegal(AssertionError):
    """An event is not allowed at this point of its run."""


class Verifier:
    """Reads the events of one stream: one run, or several runs in sequence."""

    def __init__(self) -> None:
        self.running = False
        self.ended: str | None = None
        """The type of the last run's terminal event; ``None`` while a run is active."""
        self.terminals = 0
        self._open: dict[tuple[str, ...], str | None] = {}
        self._subagents: set[str] = set()
        self._owners: dict[str, str | None] = {}

    def read(self, event: Json) -> None:
        """Reads the next event. Raises Illegal."""
        kind = event["type"]
        if kind == "RUN_STARTED":
            self._begin()
        elif kind == "RUN_ERROR":
            self._require(self.ended != "RUN_ERROR", "RUN_ERROR after RUN_ERROR")
            self._end(kind)
        else:
            self._require(self.running, f"{kind} outside a run")
            if kind == "RUN_FINISHED":
                self._end(kind)
            else:
                self._within(kind, event)

    def _begin(self) -> None:
        self._require(not self.running, "RUN_STARTED while a run is active")
        self.running, self.ended = True, None
        self._subagents.clear()
        self._owners.clear()

    def _end(self, kind: str) -> None:
        self._require(not self._open, f"{kind} with {sorted(self._open)} open")
        self.running, self.ended = False, kind
        self.terminals += 1

    def _within(self, kind: str, event: Json) -> None:
        if kind in _OPENS:
            self._open_one(*_OPENS[kind], event)
        elif kind in _CONTINUES:
            self._require(isinstance(event["delta"], str), f"{kind} without text")
            self._continue(*_CONTINUES[kind], event)
        elif kind in _ENDS:
            key = self._continue(*_ENDS[kind], event)
            del self._open[key]
        else:
            self._require(kind in _FREE, f"{kind} is not an explicit event")

    def _open_one(self, what: str, member: str, event: Json) -> None:
        key, owner = _key(what, member, event), event.get("subagentRunId")
        self._require(isinstance(event[member], str), f"{event['type']} without an id")
        self._require(key not in self._open, f"{event['type']} for {key}, which is open")
        if what == "subagent":
            self._open_subagent(event)
            owner = None
        elif what == "call":
            parent = event.get("parentMessageId")
            if parent in self._owners and owner is not None:
                self._require(
                    owner == self._owners[parent], f"{key} has another owner than {parent}"
                )
        if what in ("text", "reasoning"):
            self._owners.setdefault(event[member], owner)
        self._open[key] = owner

    def _open_subagent(self, event: Json) -> None:
        self._require(isinstance(event["name"], str), "a subagent without a name")
        self._require(event["subagentRunId"] not in self._subagents, "a subagent started twice")
        parent = event.get("parentSubagentRunId")
        self._require(parent is None or parent in self._subagents, f"no subagent {parent}")
        self._subagents.add(event["subagentRunId"])

    def _continue(self, what: str, member: str, event: Json) -> tuple[str, ...]:
        key = _key(what, member, event)
        self._require(key in self._open, f"{event['type']} for {key}, which is not open")
        owner = event.get("subagentRunId")
        if what != "subagent" and owner is not None:
            self._require(owner == self._open[key], f"{event['type']} for {key} of another owner")
        return key

    def _require(self, true: bool, otherwise: str) -> None:
        if not true:
            raise Illegal(otherwise)


def _key(what: str, member: str, event: Json) -> tuple[str, ...]:
    """Includes a step's subagent: two subagents may be in steps of the same name."""
    owner = event.get("subagentRunId")
    return (what, event[member], owner) if what == "step" and owner else (what, event[member])


def verify(events: Iterable[Json]) -> Verifier:
    """Reads all of ``events``. Raises Illegal."""
    verifier = Verifier()
    for event in events:
        verifier.read(event)
    return verifier


def runs_of(records: Iterable[Record]) -> dict[str, list[Json]]:
    """The AG-UI events of each run, in order, as plain JSON objects."""
    runs: dict[str, list[Json]] = {}
    for record in records:
        body = decode_record(record.data)
        event = msgspec.to_builtins(body.event)
        if body.run is not None and event["type"].isupper():
            runs.setdefault(body.run, []).append(event)
    return runs
