"""Broadcasts: a notice to the connected clients of every node, or of a topic, through the bus.

A broadcast is not stored. Clients that are not connected miss it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from ..bus import GAP, Bus
from ..errors import EventTooLarge
from ..protocol import events as e
from ..protocol import frames as f
from ..tasks.tasks import Tasks
from ..transports.connections import Connections
from ..transports.feeds import Feeds
from ..transports.service import Reach
from .counting import Counting

logger: Final = logging.getLogger("agentws")

CHANNEL: Final = "broadcast"
"""The bus channel; a message is an :class:`Announcement` as JSON."""


class Announcement(msgspec.Struct, frozen=True):
    """A notice that ``node`` sends. The others answer for ``id`` how many it has reached."""

    node: str
    id: str
    notice: f.Notice


class Broadcasts:
    """Sends notices to the connections of this node and of every other node on the bus."""

    def __init__(
        self,
        *,
        bus: Bus,
        connections: Connections,
        feeds: Feeds,
        counting: Counting,
        tasks: Tasks,
        node: str,
        max_size: int,
    ) -> None:
        self._bus = bus
        self._connections = connections
        self._feeds = feeds
        self._counting = counting
        self._tasks = tasks
        self._node: Final = node
        self._max_size = max_size
        self._unsubscribe: Callable[[], None] = lambda: None

    def subscribe(self) -> None:
        """Begins to receive the broadcasts of other nodes, and their answers."""
        self._unsubscribe = self._bus.subscribe(CHANNEL, self._received)
        self._counting.subscribe()

    def unsubscribe(self) -> None:
        self._unsubscribe()
        self._counting.unsubscribe()

    async def send(self, posted: e.NoticePosted, *, topic: str | None = None) -> Reach:
        """Sends it to everybody, or to those who follow ``topic``. Raises EventTooLarge."""
        notice = f.Notice(
            content=posted.content, level=posted.level, metadata=posted.metadata, topic=topic
        )
        size = len(f.encode_frame(notice))
        if size > self._max_size:
            raise EventTooLarge.of("notice", size, self._max_size)
        return await self._counting.reach(partial(self._publish, notice))

    def _publish(self, notice: f.Notice, id: str) -> asyncio.Task[int]:
        # This node's connections first: they are reached even if the bus fails.
        announced = self._announce(notice)
        message = Announcement(self._node, id, notice)
        self._bus.publish(CHANNEL, msgspec.json.encode(message))
        return announced

    def _announce(self, notice: f.Notice) -> asyncio.Task[int]:
        to = None if notice.topic is None else self._feeds.audience(notice.topic)
        return self._connections.announce(notice, to=to)

    def _received(self, channel: str, payload: bytes) -> None:
        if payload == GAP:
            return  # a broadcast is not stored: what was lost is lost
        try:
            message = msgspec.json.decode(payload, type=Announcement)
        except msgspec.MsgspecError as error:
            logger.warning("a broadcast of another node could not be decoded: %s", error)
            return
        if message.node != self._node:
            announced = self._announce(message.notice)
            self._tasks.spawn(self._answer(message, announced), name="answering a broadcast")

    async def _answer(self, message: Announcement, announced: asyncio.Task[int]) -> None:
        reached = await asyncio.shield(announced)
        self._counting.answer(message.id, to=message.node, reached=reached)
