"""What the bus of PostgreSQL sends: many messages in one notification, or a large one in several.

A notification is JSON: the sending node, and parts of messages. PostgreSQL takes 7,999 bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

logger: Final = logging.getLogger("agentws")

LARGEST: Final = 7_900
"""Bytes of one notification."""
PART: Final = 4_500
"""Bytes of a payload in one part; JSON makes a third more of them."""
MOST_WAITING: Final = 1_000
"""Messages, other than rings, that wait to be sent; older ones are lost."""
LARGEST_MESSAGE: Final = 4 * 1024 * 1024
"""Bytes of a message in several parts."""


class Part(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A message of a channel, or one of its ``count`` parts."""

    channel: str
    payload: bytes
    index: int = 0
    count: int = 1


_Notification = tuple[str, list[Part]]
_encode: Final = msgspec.json.Encoder().encode
_decoder: Final[msgspec.json.Decoder[_Notification]] = msgspec.json.Decoder(_Notification)


def decode(text: str) -> _Notification | None:
    """The sending node and the parts; ``None`` for what no bus has sent."""
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, ValueError):
        return None


class Outbox:
    """What is to be sent next. Of the rings of a channel only the newest one counts."""

    def __init__(self, node: str) -> None:
        self._node = _encode(node)
        self.beginning: Final = f"[{self._node.decode()},"
        """What every notification of this node begins with."""
        self._rings: dict[str, bytes] = {}
        self._messages: list[tuple[str, bytes]] = []

    def add(self, channel: str, payload: bytes) -> None:
        """Adds a message. One of digits only is a ring, which replaces the one before it."""
        if payload.isdigit():
            self._rings[channel] = payload
            return
        if channel in self._rings:
            # Messages of a channel keep their order.
            self._messages.append((channel, self._rings.pop(channel)))
        self._messages.append((channel, payload))
        if len(self._messages) > MOST_WAITING:
            del self._messages[0]

    def __len__(self) -> int:
        return len(self._messages) + len(self._rings)

    def take(self) -> list[str]:
        """All that is to be sent, as notifications; the messages before the rings."""
        messages, rings = self._messages, self._rings
        self._messages, self._rings = [], {}
        return self._packed([*messages, *rings.items()]) if messages or rings else []

    def probe(self) -> list[str]:
        """A notification without a message."""
        return self._packed([])

    def _packed(self, messages: Sequence[tuple[str, bytes]]) -> list[str]:
        parts = [part for message in messages for part in _split(*message)]
        packed: list[str] = []
        batch: list[bytes] = []
        size = 0
        for part in parts:
            if len(part) + len(self._node) + 6 > LARGEST:
                logger.warning("a message was not sent: the name of its channel is too long")
                continue
            if size + len(part) + len(self._node) + 6 > LARGEST:
                packed.append(self._notification(batch))
                batch, size = [], 0
            batch.append(part)
            size += len(part) + 1
        return [*packed, self._notification(batch)] if batch or not messages else packed

    def _notification(self, parts: Sequence[bytes]) -> str:
        return (b"[%b,[%b]]" % (self._node, b",".join(parts))).decode()


def _split(channel: str, payload: bytes) -> Iterator[bytes]:
    if len(payload) > LARGEST_MESSAGE:
        logger.warning(
            "a message of %d bytes reaches no other node: expected at most %d bytes",
            *(len(payload), LARGEST_MESSAGE),
        )
        return
    count = max(1, -(-len(payload) // PART))
    for index in range(count):
        yield _encode(Part(channel, payload[index * PART : (index + 1) * PART], index, count))


class Reassembly:
    """Puts messages together again. A node's parts come in order, but some may be lost."""

    def __init__(self) -> None:
        self._begun: dict[str, list[bytes]] = {}
        """The parts so far of the message that a node is sending."""

    def add(self, sender: str, parts: Sequence[Part]) -> Iterator[tuple[str, bytes]]:
        for part in parts:
            if part.count == 1:
                yield part.channel, part.payload
                continue
            begun = self._begun.pop(sender, []) if part.index else []
            if len(begun) != part.index or part.count > LARGEST_MESSAGE // PART + 1:
                continue
            begun.append(part.payload)
            if len(begun) == part.count:
                yield part.channel, b"".join(begun)
            else:
                self._begun[sender] = begun
