"""The shared state: what a run sees of it, and which changes by clients an agent accepts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple, Protocol

from ..auth import Identity
from ..protocol.events import JsonPatch


class StateChange(NamedTuple):
    """A change of the shared state that a client asks for.

    All values are copies. ``identity`` is ``None`` for an anonymous client.
    """

    patch: JsonPatch
    """RFC 6902 operations. They apply to ``before``, and give ``after``."""
    identity: Identity | None
    before: Any
    """The shared state, a JSON value; ``{}`` when nobody has set any."""
    after: Any


AcceptsState = Callable[[StateChange], bool]
"""Whether a change is accepted. It may raise AgentError with a sentence for the user.

A plain function without side effects: it is called again when the state has changed meanwhile.
"""


class SharedState(Protocol):
    """The shared state as one run sees it: as in the log, with what the run has written since."""

    def read(self) -> Any:
        """The state now, a JSON value, or ``None``: a copy, the same one until it changes."""

    def check(self, patch: JsonPatch) -> None:
        """Raises BadRequest, which says which operation does not apply to the state now."""

    def changes(self) -> AsyncIterator[Any]:
        """:meth:`read` after every change by a client since the last read; ends with the run."""
