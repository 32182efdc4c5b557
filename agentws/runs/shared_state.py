"""The shared state as one run sees it: the log's, changed by what the run has written since.

A client's change may come between two changes of a run, on any node. The order of the log decides:
what the run has written and what is not in the log yet is applied again on top of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from ..protocol import events as e
from ..protocol.events import JsonPatch
from ..protocol.jsonpatch import apply_patch
from ..protocol.outline import Outline, patched
from ..sessions.follower import Bell
from ..sessions.session import Session
from .documents import Document

Change = e.StateSnapshot | e.StateDelta
"""What a run writes to change the state."""

MOST_UNREAD: Final = 64
"""Changes by an agent that has stopped reading, after which its next read copies the whole state.
"""
_encoder: Final = msgspec.json.Encoder()
_decoder: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder()


class RunState:
    """Implements :class:`agentws.agents.sharing.SharedState` for the run of that id."""

    __slots__ = (
        "_client_changes",
        "_closed",
        "_document",
        "_ending",
        "_in_log",
        "_pending",
        "_read",
        "_read_at",
        "_run",
        "_session",
        "_unread",
        "_waiting",
    )

    def __init__(
        self, session: Session, run: str, *, max_event_size: int, ended: bool = False
    ) -> None:
        """``ended``: for a task that outlives the run; nobody tells it of changes any more."""
        outline = session.outline
        self._session = session
        self._run = run
        self._document = Document(outline.state, largest=max_event_size)
        self._client_changes = outline.client_changes
        self._pending: deque[Change] = deque()
        self._in_log = outline.run_changes if outline.run == run else 0
        """How many changes of this run are in the log, as known when that was last asked."""
        self._read: Any = None
        self._unread: list[Change] | None = None
        """What the run has written since the agent read ``_read``; ``None`` if that can't tell the
        state any more, or if it was never read."""
        self._read_at = outline.client_changes
        self._ending: str | None = None
        """The run that asked, while the agent waits for answers."""
        self._waiting: set[Bell] = set()
        self._closed = ended

    def admit(self, event: Change, size: int) -> None:
        """Applies what the run is about to write, of about ``size`` bytes.

        Raises EventTooLarge for a patch that would make the state too large.
        """
        document = self._current()
        # A copy: the agent may change the object after it was written.
        match event:
            case e.StateSnapshot():
                snapshot = json_copy(event.snapshot)
                kept: Change = e.StateSnapshot(snapshot)
                document.replace(snapshot, size)
            case e.StateDelta():
                delta = json_copy(event.delta)
                kept = e.StateDelta(delta)
                value = patched(document.value, delta)
                document.change(value, delta, size, kind="STATE_DELTA", name="the shared state")
        self._drop_appended(self._session.outline)
        self._pending.append(kept)
        if self._unread is not None:
            self._unread.append(kept)
            if len(self._unread) > MOST_UNREAD:
                self._unread = None

    # An agent that waits for answers

    def park(self, run: str) -> None:
        """The run ends, and the agent goes on as another one, which has not begun."""
        # What is not in the log yet comes before that end.
        self._pending.clear()
        self._in_log = 0
        self._run, self._ending = run, self._run

    def resume(self) -> None:
        """The run has begun. Other runs may have changed the state meanwhile."""
        self._ending = None
        self._rebase()

    def close(self) -> None:
        """The run has ended: nobody waits for changes any more."""
        self._closed = True
        for bell in self._waiting:
            bell.ring()

    # What the agent sees

    def read(self) -> Any:
        value = self._current().value
        if self._unread is None:
            self._read = json_copy(value)
        else:
            for event in self._unread:
                self._read = _changed(self._read, event)
        self._unread, self._read_at = [], self._client_changes
        return self._read

    def changes(self) -> AsyncIterator[Any]:
        return _Changes(self, self._read_at)

    def check(self, patch: JsonPatch) -> None:
        value = self._current().value
        apply_patch({} if value is None else value, patch)

    async def next_change(self, seen: int) -> int | None:
        """Waits until the number of client changes is not ``seen``; ``None`` after the run."""
        outline, bell = self._session.outline, Bell()
        self._session.follow(bell)
        self._waiting.add(bell)
        try:
            while outline.client_changes == seen and not self._closed:
                bell.clear()
                await bell.wait()
        finally:
            self._waiting.discard(bell)
            self._session.unfollow(bell)
        return None if self._closed else outline.client_changes

    # The log

    def _current(self) -> Document:
        """The state with all that is known here; it must not be changed in place."""
        outline = self._session.outline
        if outline.client_changes != self._client_changes:
            parked = self._ending is not None and outline.run != self._ending
            if parked or outline.run == self._run:
                self._rebase()
        return self._document

    def _rebase(self) -> None:
        """Applies what is not in the log yet to the state of the log."""
        outline = self._session.outline
        self._drop_appended(outline)
        value = outline.state
        for event in self._pending:
            value = _changed(value, event)
        self._document.replace(value, None)
        self._unread = None
        self._client_changes = outline.client_changes

    def _drop_appended(self, outline: Outline) -> None:
        """Forgets the changes that are in the log."""
        if outline.run != self._run:
            return
        for _ in range(outline.run_changes - self._in_log):
            self._pending.popleft()
        self._in_log = outline.run_changes


class _Changes(AsyncIterator[Any]):
    """The state after every change by a client; several changes at once are one."""

    def __init__(self, state: RunState, seen: int) -> None:
        self._state = state
        self._seen = seen

    async def __anext__(self) -> Any:
        now = await self._state.next_change(self._seen)
        if now is None:
            raise StopAsyncIteration
        self._seen = now
        return self._state.read()


def _changed(value: Any, event: Change) -> Any:
    """The value after ``event``; it shares nothing with it."""
    if isinstance(event, e.StateSnapshot):
        return json_copy(event.snapshot)
    return patched(value, event.delta)


def json_copy(value: Any) -> Any:
    """A copy of a value as JSON has it: lists for tuples, text for dates."""
    return _decoder.decode(_encoder.encode(value))
