"""What agents and their commands see of a session."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable

import msgspec

from ..auth import Identity
from ..protocol.messages import Message
from ..store import SessionInfo

History = Callable[["int | None"], Awaitable[list[Message]]]
"""Reads the conversation, oldest message first; given a limit, its newest messages."""

Earlier = Callable[[], Awaitable[list[Message]]]
"""Reads what an agent that is called again has written."""


class SessionContext:
    """The session, who acts in it, and its conversation. The base of both contexts."""

    __slots__ = ("_history", "identity", "session")

    def __init__(
        self, *, session: SessionInfo, identity: Identity | None, history: History
    ) -> None:
        self.session = _copied(session)
        self.identity = identity
        self._history = history


def _copied(session: SessionInfo) -> SessionInfo:
    """A copy, since all runs of a session share the original: an agent may change its metadata."""
    if session.metadata is None:
        return session
    return msgspec.structs.replace(session, metadata=copy.deepcopy(session.metadata))
