"""What agents and their commands see of a session."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Set

import msgspec

from ..auth import Identity
from ..protocol.messages import Message
from ..store import SessionInfo

History = Callable[["int | None"], Awaitable[list[Message]]]
"""Reads the conversation, oldest message first; given a limit, its newest messages."""

ReadEarlier = Callable[["Set[str] | None"], Awaitable[list[Message]]]
"""Reads what the run's own agent has written; given ids, what the delegate did that had them."""


class Earlier:
    """What an agent that is called again has written. It is read once."""

    __slots__ = ("_messages", "_parts", "_read")

    def __init__(self, read: ReadEarlier, parts: Set[str] | None = None) -> None:
        self._read = read
        self._parts = parts
        self._messages: list[Message] | None = None

    def of(self, parts: Set[str]) -> Earlier:
        """The same for a delegate that had the ids ``parts``: none if it is new."""
        return Earlier(self._read, parts)

    async def messages(self) -> list[Message]:
        if self._messages is None:
            self._messages = await self._read(self._parts)
        return self._messages


class SessionContext:
    """The session, who acts in it, and its conversation. The base of all contexts."""

    __slots__ = ("_history", "identity", "session")

    def __init__(self, session: SessionInfo, identity: Identity | None, history: History) -> None:
        self.session = _copied(session)
        self.identity = identity
        self._history = history

    async def history(self, *, limit: int | None = None) -> list[Message]:
        """The conversation so far, oldest first; with ``limit``, its newest messages."""
        return await self._history(limit)


def _copied(session: SessionInfo) -> SessionInfo:
    """A copy, since all runs of a session share the original: an agent may change its metadata."""
    if session.metadata is None:
        return session
    return msgspec.structs.replace(session, metadata=copy.deepcopy(session.metadata))
