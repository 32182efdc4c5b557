"""What a run changes by patches: no value grows past what one event may say.

A snapshot says the shared state in one event, and an activity in one message. Each patch may be
small and what they add up to large, so the sum is watched.
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
from .checking import check_title

PATCHED: Final = frozenset(
    {e.StateSnapshot, e.StateDelta, e.ActivitySnapshot, e.ActivityDelta, e.SessionUpdated}
)
"""The events that :class:`Documents` follows."""

_encoder: Final = msgspec.json.Encoder()
_AROUND: Final = FRAME + len(b'{"event":{"type":"STATE_SNAPSHOT","snapshot":}}')
"""What the frame that says a value has beside it."""
_STATE: Final = ("STATE_DELTA", "the shared state")
_ACTIVITY: Final = ("ACTIVITY_DELTA", "this activity")


class _Document:
    """A value, and what it has in bytes at most."""

    __slots__ = ("at_most", "value")

    def __init__(self, value: Any, at_most: int | None) -> None:
        self.value = value
        self.at_most = at_most
        """``None`` until somebody measures."""


class Documents:
    """The shared state and the activities of one run. Feed it what the agent yields, in order."""

    __slots__ = ("_activities", "_largest", "_state")

    def __init__(self, state: Any, *, max_event_size: int) -> None:
        self._largest = max_event_size - _AROUND
        self._state = _Document(state, None)
        self._activities: dict[str, _Document] = {}

    def admit(self, event: Event, size: int) -> None:
        """Takes note of an event of about ``size`` bytes.

        Raises EventTooLarge for a title that is too large, and for a patch that makes its value too
        large, which then stays as it was.
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
                # One of an earlier run is not known here.
                activity = self._activities.get(id)
                if activity is not None:
                    value = _repainted(activity.value, event.patch)
                    self._change(activity, value, event.patch, size, _ACTIVITY)
            case e.SessionUpdated(title=str(title)):
                check_title(title)
            case _:
                pass

    def _change(
        self, document: _Document, value: Any, patch: JsonPatch, size: int, named: tuple[str, str]
    ) -> None:
        kind, what = named
        # A patch adds no more than it brings, except where it copies.
        copies = any(operation.get("op") == "copy" for operation in patch)
        at_most = None if copies or document.at_most is None else document.at_most + size
        if at_most is None or at_most > self._largest:
            at_most = measure(value, self._largest)
            if at_most > self._largest:
                raise EventTooLarge(
                    f"With this {kind} {what} has more than {self._largest} bytes;"
                    " one event can say no more."
                )
        document.value, document.at_most = value, at_most


def measure(value: Any, enough: int) -> int:
    """The bytes of ``value`` as JSON; where that is more than ``enough``, any number above it.

    Copies in a patch may share one large text many times: that is found without writing it out.
    """
    pending, size = [value], 0
    while pending:
        node = pending.pop()
        size += len(node) if isinstance(node, str) else 1
        if size > enough:
            return size
        if isinstance(node, dict):
            pending.extend(node)
            pending.extend(node.values())
        elif isinstance(node, list | tuple):
            pending.extend(node)
    return len(_encoder.encode(value))


def _repainted(content: Any, patch: JsonPatch) -> Any:
    """AG-UI: a patch that does not apply leaves an activity's content as it was."""
    try:
        return apply_patch(content, patch)
    except BadRequest:
        return content
