"""Broadcasts: a notice to every connected client of every node, through the bus.

A broadcast is not stored. Clients that are not connected miss it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from ..bus import GAP, Bus
from ..errors import EventTooLarge
from ..protocol import events as e
from ..protocol import frames as f
from ..transports.connections import Connections

logger: Final = logging.getLogger("agentws")

CHANNEL: Final = "broadcast"
"""The bus channel. A message is ``NODE FRAME``: the sending node, a space, the notice as JSON."""


class Broadcasts:
    """Sends notices to the connections of this node and of every other node on the bus."""

    def __init__(self, *, bus: Bus, connections: Connections, node: str, max_size: int) -> None:
        self._bus = bus
        self._connections = connections
        self._node: Final = node.encode()
        self._max_size = max_size
        self._unsubscribe: Callable[[], None] = lambda: None

    def subscribe(self) -> None:
        """Begins to receive the broadcasts of other nodes."""
        self._unsubscribe = self._bus.subscribe(CHANNEL, self._received)

    def unsubscribe(self) -> None:
        self._unsubscribe()

    async def send(self, posted: e.NoticePosted) -> int:
        """Returns how many connections of this node were reached. Raises EventTooLarge."""
        notice = f.Notice(content=posted.content, level=posted.level, metadata=posted.metadata)
        data = f.encode_frame(notice)
        if len(data) > self._max_size:
            raise EventTooLarge.of("notice", len(data), self._max_size)
        # This node's connections first: they are reached even if the bus fails.
        announced = self._connections.announce(notice)
        self._bus.publish(CHANNEL, b"%b %b" % (self._node, data))
        return await asyncio.shield(announced)

    def _received(self, channel: str, payload: bytes) -> None:
        node, _, data = payload.partition(b" ")
        if node == self._node or payload == GAP:
            return
        try:
            self._connections.announce(msgspec.json.decode(data, type=f.Notice))
        except msgspec.MsgspecError as error:
            logger.warning("a broadcast of another node could not be decoded: %s", error)
