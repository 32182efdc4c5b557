"""A topic's handle for the host's own code: post what is kept, announce what is not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from ..protocol import events as e
from ..protocol.messages import Metadata
from ..protocol.text import plain
from ..protocol.topics import check_topic
from ..sessions.topics import Topics
from ..store import Appended
from ..transports.service import Reach
from .broadcasts import Broadcasts
from .validation import checked_key, checked_notice


class TopicParts(Protocol):
    """The parts of a started gateway that a handle uses."""

    @property
    def topics(self) -> Topics: ...

    @property
    def broadcasts(self) -> Broadcasts: ...


class TopicHandle:
    """Lets the host's code write to a topic, from any node; ``gateway.topic(name)`` returns it.

    The topic is made by its first use. A handle may be kept for any time.
    """

    def __init__(self, name: str, start: Callable[[], Awaitable[TopicParts]]) -> None:
        self.name = plain(check_topic(name))
        self._start = start

    def __repr__(self) -> str:
        return f"<TopicHandle {self.name}>"

    async def post(
        self,
        content: str,
        *,
        level: e.Level = "info",
        metadata: Metadata | None = None,
        key: str | None = None,
    ) -> str:
        """Appends a notice to the topic: followers that are away see it when they return.

        ``key`` is an idempotency key of 1 to 128 characters: the same one again posts nothing.
        Returns the position of the post. Raises IdempotencyConflict for a key that was used with
        another notice, EventTooLarge, Unavailable, and TypeError for a notice that can't be stored.
        """
        done = await self.append(content, level=level, metadata=metadata, key=key)
        return str(done.position)

    async def notify(
        self, content: str, *, level: e.Level = "info", metadata: Metadata | None = None
    ) -> int:
        """Shows a notice to those who follow the topic now, on any node; it is not kept.

        Returns how many connections were reached; see :meth:`AgentGateway.broadcast`.
        """
        return (await self.announce(content, level=level, metadata=metadata)).reached

    async def append(
        self, content: str, *, level: e.Level, metadata: Metadata | None, key: str | None
    ) -> Appended:
        """As :meth:`post`; the result says whether it was a duplicate."""
        notice = checked_notice(content, level, metadata)
        used = checked_key(key)
        parts = await self._start()
        return await parts.topics.post(self.name, notice, key=used)

    async def announce(self, content: str, *, level: e.Level, metadata: Metadata | None) -> Reach:
        """As :meth:`notify`; the result says on how many nodes."""
        notice = checked_notice(content, level, metadata)
        parts = await self._start()
        return await parts.broadcasts.send(notice, topic=self.name)
