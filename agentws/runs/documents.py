"""The values that are changed by JSON Patch: each must remain small enough for one event.

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
from ..protocol.sizes import FRAME
from .validation import check_title

PATCHED: Final = frozenset(
    {e.StateSnapshot, e.StateDelta, e.ActivitySnapshot, e.ActivityDelta, e.SessionUpdated}
)
"""The events whose result has a bounded size."""

_encoder: Final = msgspec.json.Encoder()
_AROUND: Final = FRAME + len(b'{"event":{"type":"STATE_SNAPSHOT","snapshot":}}')
"""Bytes of a frame around the value that it carries."""


class Document:
    """A value, and an upper bound of its size in bytes.

    ``largest``: the most bytes of the frame that is to hold it.
    """

    __slots__ = ("_at_most", "_largest", "value")

    def __init__(self, value: Any, at_most: int | None = None, *, largest: int) -> None:
        self.value = value
        self._at_most = at_most
        """``None`` until the value is measured."""
        self._largest = largest - _AROUND

    def replace(self, value: Any, at_most: int | None) -> None:
        """Sets another value, of at most that many bytes, if they are known."""
        self.value, self._at_most = value, at_most

    def change(self, value: Any, patch: JsonPatch, size: int, *, kind: str, name: str) -> None:
        """Sets the value that ``patch``, of ``size`` bytes, gives.

        Raises EventTooLarge for one that is too large, unless the old value was as large: then the
        patch does no harm. ``kind`` and ``name`` say in the error what was to change what.
        """
        # A patch makes the value larger by its own size at most, unless it copies.
        copies = any(operation.get("op") == "copy" for operation in patch)
        at_most = None if copies or self._at_most is None else self._at_most + size
        if at_most is None or at_most > self._largest:
            at_most = measure(value, self._largest) if copies else len(_encoder.encode(value))
            grows = copies or at_most > len(_encoder.encode(self.value))
            if at_most > self._largest and grows:
                raise EventTooLarge(
                    f"With this {kind} {name} would have more than {self._largest} bytes,"
                    " the most that one event can hold."
                )
        self.value, self._at_most = value, at_most


class Documents:
    """The activities of one run. Feed it what the agent yields, in order."""

    __slots__ = ("_activities", "_largest")

    def __init__(self, *, max_event_size: int) -> None:
        self._largest = max_event_size
        self._activities: dict[str, Document] = {}

    def admit(self, event: Event, size: int) -> None:
        """Applies an event of about ``size`` bytes.

        Raises EventTooLarge for a title that is too large, and for a patch that would make its
        activity too large; that is then unchanged.
        """
        match event:
            case e.ActivitySnapshot(message_id=id):
                if event.replace is not False or id not in self._activities:
                    self._activities[id] = Document(event.content, size, largest=self._largest)
            case e.ActivityDelta(message_id=id):
                # An activity of an earlier run is not tracked.
                activity = self._activities.get(id)
                if activity is not None:
                    value = _patched_activity(activity.value, event.patch)
                    activity.change(
                        value, event.patch, size, kind="ACTIVITY_DELTA", name="this activity"
                    )
            case e.SessionUpdated(title=str(title)):
                check_title(title)
            case _:
                pass


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
