"""A client's change of the shared state, decided on the log that it is appended to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from ..agents.agent import Agent
from ..agents.sharing import AcceptsState, StateChange
from ..auth import Identity
from ..errors import AgentError, BadRequest, Forbidden, NotSupported, StateConflict
from ..protocol import events as e
from ..protocol.codec import entry
from ..protocol.events import JsonPatch
from ..protocol.jsonpatch import apply_patch
from ..sessions.session import Session
from ..store import Key
from .deciding import Command, Decision
from .documents import Document
from .failure import error_for_user
from .ids import now_ms
from .shared_state import json_copy

logger: Final = logging.getLogger("agentws")


def accepted_state(agent: Agent) -> AcceptsState:
    """Which changes ``agent`` accepts. Raises NotSupported if it accepts none."""
    accepts = agent.accepts_state
    if callable(accepts):
        return accepts
    if accepts is True:
        return _any_change
    if accepts is not False:
        raise TypeError(f"accepts_state is {accepts!r}; expected True, False or a function")
    raise NotSupported("The agent does not accept changes of its state from clients.")


def _any_change(change: StateChange) -> bool:
    return True


def state_command(
    session: Session,
    patch: JsonPatch,
    *,
    key: Key | None,
    accepts: AcceptsState,
    identity: Identity | None,
) -> Command:
    """The command that appends ``patch`` where it applies and the agent accepts it.

    It raises StateConflict, EventTooLarge, Forbidden, and the AgentError of ``accepts``.
    """
    by = None if identity is None else identity.id
    changed = entry(e.StateChanged(patch, by, timestamp=now_ms()))

    def command() -> Decision:
        before = session.outline.state
        after = _applied(before, patch)
        document = Document(before, largest=session.max_event_size)
        document.change(after, patch, len(changed.data), kind="patch", name="the shared state")
        if accepts is not _any_change:
            _check_accepted(accepts, patch, identity, before, after)
        return Decision(changed, key=key)

    return command


def _applied(state: Any, patch: JsonPatch) -> Any:
    try:
        return apply_patch({} if state is None else state, patch)
    except BadRequest as error:
        expected = "a patch for the state as it is now: read it and try again"
        raise StateConflict(error.message, expected=expected) from error


def _check_accepted(
    accepts: AcceptsState, patch: JsonPatch, identity: Identity | None, before: Any, after: Any
) -> None:
    """Raises Forbidden for a change that the agent refuses, and its AgentError."""
    change = StateChange(
        json_copy(patch), identity, {} if before is None else json_copy(before), json_copy(after)
    )
    if not _asked(accepts, change):
        raise Forbidden("The agent does not accept this change of its state.")


def _asked(accepts: Callable[[StateChange], Any], change: StateChange) -> bool:
    try:
        answer = accepts(change)
        if not isinstance(answer, bool):
            _close(answer)
            raise TypeError(
                f"accepts_state returned {type(answer).__name__}; expected a bool, from a plain "
                "function (not async)"
            )
    except BaseException as error:
        # It may raise SystemExit: the server must not exit by that.
        if (known := error_for_user(error)) is not None:
            raise known from known.__cause__
        logger.error("accepts_state failed", exc_info=error)
        raise AgentError() from error
    return answer


def _close(answer: object) -> None:
    """Closes a coroutine that nobody awaits."""
    close = getattr(answer, "close", None)
    if callable(close):
        close()
