"""The values that a run changes by JSON Patch: each must remain small enough for one event.

A snapshot holds the shared state in one event, and an activity in one message. Small patches may
add up to a large value, so its size is tracked.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..errors import BadRequest, EventTooLarge
from ..protocol import events as e
from ..protocol.events import Event, JsonPatch
from ..protocol.jsonpatch import apply_patch
from ..protocol.outline import patched
from ..protocol.sizes import FRAME
from .validation import check_title

PATCHED: Final = frozenset(
    {e.StateSnapshot, e.StateDelta, e.ActivitySnapshot, e.ActivityDelta, e.SessionUpdated}
)
"""The events that :class:`Documents` follows."""

_encoder: Final = msgspec.json.Encoder()
_AROUND: Final = FRAME + len(b'{"event":{"type":"STATE_SNAPSHOT","snapshot":}}')
"""Bytes of a frame around the value that it carries."""
_STATE: Final = ("STATE_DELTA", "the shared state")
_ACTIVITY: Final = ("ACTIVITY_DELTA", "this activity")


class _Document:
    """A value, and an upper bound of its size in bytes."""

    __slots__ = ("at_most", "value")

    def __init__(self, value: Any, at_most: int | None) -> None:
        self.value = value
        self.at_most = at_most
        """``None`` until the value is measured."""


class Documents:
    """The shared state and the activities of one run. Feed it what the agent yields, in order."""

    __slots__ = ("_activities", "_largest", "_state")

    def __init__(self, state: Any, *, max_event_size: int) -> None:
        self._largest = max_event_size - _AROUND
        self._state = _Document(state, None)
        self._activities: dict[str, _Document] = {}

    def admit(self, event: Event, size: int) -> None:
        """Applies an event of about ``size`` bytes.

        Raises EventTooLarge for a title that is too large, and for a patch that would make its
        value too large; the value is then unchanged.
        """
        match event:
            case e.StateSnapshot():
                self._state = _Document(event.snapshot, size)
            case e.StateDelta():
                value = patched(self._state.value, event.delta)
                self._change(self._state, value, event.delta, size, _STATE)
            case e.ActivitySnapshot():
                known = event.message_id in self._activities
                if event.replace is not False or not known:
                    self._activities[event.message_id] = _Document(event.content, size)
            case e.ActivityDelta(message_id=id):
                # An activity of an earlier run is not tracked.
                activity = self._activities.get(id)
                if activity is not None:
                    value = _patched_activity(activity.value, event.patch)
                    self._change(activity, value, event.patch, size, _ACTIVITY)
            case e.SessionUpdated(title=str(title)):
                check_title(title)
            case _:
                pass

    def _change(
        self, document: _Document, value: Any, patch: JsonPatch, size: int, named: tuple[str, str]
    ) -> None:
        kind, what = named
        # A patch makes the value larger by its own size at most, unless it copies.
        copies = any(operation.get("op") == "copy" for operation in patch)
        at_most = None if copies or document.at_most is None else document.at_most + size
        if at_most is None or at_most > self._largest:
            at_most = measure(value, self._largest)
            if at_most > self._largest:
                raise EventTooLarge(
                    f"With this {kind} {what} would have more than {self._largest} bytes,"
                    " the most that one event can hold."
                )
        document.value, document.at_most = value, at_most


def measure(value: Any, limit: int) -> int:
    """The bytes of ``value`` as JSON. If it is larger than ``limit``, any number above that.

    A value may contain a large text many times, by patches that copy. It is not encoded then.
    """
    pending, size = [value], 0
    while pending:
        node = pending.pop()
        size += len(node) if isinstance(node, str) else 1
        if size > limit:
            return size
        if isinstance(node, dict):
            pending.extend(node)
            pending.extend(node.values())
        elif isinstance(node, list | tuple):
            pending.extend(node)
    return len(_encoder.encode(value))


def _patched_activity(content: Any, patch: JsonPatch) -> Any:
    """AG-UI: a patch that does not apply leaves an activity unchanged."""
    try:
        return apply_patch(content, patch)
    except BadRequest:
        return content
