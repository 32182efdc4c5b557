"""A session's handle for the host's own code: push a notice, read the conversation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from ..protocol import events as e
from ..protocol.messages import Message, Metadata
from ..sessions.session import Session
from .validation import checked_notice

Find = Callable[[str], Awaitable[Session]]
"""Returns the session of an id, after a start of the gateway if needed; raises NotFound."""


class Change(Protocol):
    """Changes the facts about a session besides its log."""

    async def __call__(self, session: Session, *, retention: float | None) -> None: ...


class SessionHandle:
    """Lets the host's code speak in a session, from any node; ``gateway.session(id)`` returns it.

    The session is looked up with each call, so a handle may be kept for any time.
    """

    def __init__(self, id: str, find: Find, change: Change) -> None:
        self.id = id
        self._find = find
        self._change = change

    def __repr__(self) -> str:
        return f"<SessionHandle {self.id}>"

    async def push(
        self, content: str, *, level: e.Level = "info", metadata: Metadata | None = None
    ) -> str:
        """Appends a durable notice: clients that are away see it when they return.

        Returns its position. Raises NotFound when there is no such session, EventTooLarge, and
        TypeError for a notice that can't be stored.
        """
        notice = checked_notice(content, level, metadata)
        session = await self._find(self.id)
        return str((await session.append([notice])).position)

    async def messages(self) -> list[Message]:
        """The conversation so far. Raises NotFound."""
        return await (await self._find(self.id)).messages()

    async def set_retention(self, seconds: float | None) -> None:
        """Keeps the session for that many seconds after its last use, and then deletes it.

        ``None``: for ``Limits.session_retention`` again. Raises NotFound, and TypeError for
        anything but a number above 0.
        """
        await self._change(await self._find(self.id), retention=seconds)
