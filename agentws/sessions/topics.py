"""Durable topics: logs of notices, which no agent writes to and no client owns.

A topic's log is in the same store as the sessions, and is read by the same code. It is no session:
it has no owner, so no list and no search contains it; it is settled for ever, so no node recovers
it; and its own retention keeps it from being deleted. What is too old in it is trimmed instead.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ..bus import Bus
from ..errors import AgentwsError, NotFound
from ..limits import Limits
from ..protocol import events as e
from ..protocol.codec import Record, check_sizes, decode_record, entry
from ..protocol.topics import FRAME, check_topic, topic_log
from ..store import Appended, Key, SessionInfo, Settled, Store
from .registry import Sessions
from .session import Session

logger: Final = logging.getLogger("agentws")

SETTLED: Final = Settled(2**53 - 1)
"""The checkpoint of a topic: nothing in it is ever open. A number that every store can keep."""
KEPT: Final = 1e12
"""Seconds: the retention of a topic's log, by which a store never finds it expired."""
TRIM: Final = 60.0
"""Seconds between two searches for posts that are too old, in the topics in memory."""
TRIM_BATCH: Final = 50
"""Topics that one round of housekeeping trims, so that its other work does not wait for long."""
TRIM_PAGE: Final = 100
"""Posts that one search reads of a topic."""
_encoder: Final = msgspec.json.Encoder(order="deterministic")


class Topics:
    """The topics that this node uses: they are created with their first use, and then in memory."""

    def __init__(
        self, *, store: Store, bus: Bus, limits: Limits, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock
        self._logs = Sessions(store=store, bus=bus, limits=limits, clock=clock)
        self._trim_at = 0.0
        self._to_trim: deque[Session] = deque()

    def __repr__(self) -> str:
        return f"<Topics {len(self)}>"

    def __len__(self) -> int:
        """How many are in memory."""
        return len(self._logs)

    async def open(self, name: str) -> Session:
        """The log of the topic. Raises BadRequest for a name that no topic can have."""
        id = topic_log(check_topic(name))
        try:
            return await self._logs.find(id)
        except NotFound:
            now = self._clock()
            info = SessionInfo(id=id, agent="", created=now, updated=now, retention=KEPT)
            await self._store.create(info, epoch=secrets.token_hex(4))
            return await self._logs.find(id)

    async def post(self, name: str, notice: e.NoticePosted, *, key: str | None) -> Appended:
        """Appends ``notice``; with ``key``, the second time is a duplicate.

        Raises IdempotencyConflict for a key that was used for another notice, EventTooLarge,
        BadRequest for the name, Unavailable.
        """
        log = await self.open(name)
        data = entry(notice)
        check_sizes([data], log.max_event_size - FRAME)
        used = None if key is None else Key(key, _digest(notice))
        done = await self._store.append(
            log.id, [data.data], key=used, settled=SETTLED, commutes=True
        )
        await self._announce(log, trim=done.position.seq % self._stride == 0)
        return done

    async def _announce(self, log: Session, *, trim: bool) -> None:
        """Rings the followers on every node. Raises nothing: the post is in the store."""
        try:
            await log.catch_up()
            log.announce()
            if trim:
                await self._trim(log)
        except AgentwsError as error:
            logger.warning("a post to %s will be shown later: %s", log.id, error)

    # Housekeeping

    async def work(self) -> None:
        """Polls for posts whose bell was lost, trims, and evicts topics that nobody follows.

        Raises Unavailable; the rest is done the next time.
        """
        if not len(self):
            return
        await self._logs.poll()
        self._logs.sweep(busy=lambda log: False)
        now = asyncio.get_running_loop().time()
        if now >= self._trim_at and not self._to_trim:
            self._trim_at = now + TRIM
            self._to_trim.extend(self._logs)
        for _ in range(min(TRIM_BATCH, len(self._to_trim))):
            await self._trim(self._to_trim.popleft())

    @property
    def _stride(self) -> int:
        """Posts after which a topic is trimmed by who posts: its node may follow no topic."""
        return max(1, self._limits.topic_posts // 4)

    async def _trim(self, log: Session) -> None:
        """Removes the posts that are too many or too old; never the newest, which is the head."""
        last = max(log.head.seq - self._limits.topic_posts, 0)
        kept = self._limits.topic_retention
        if kept is not None:
            oldest = await self._store.read(log.id, limit=TRIM_PAGE)
            last = max(last, _last_before(oldest, (self._clock() - kept) * 1000))
        last = min(last, log.head.seq - 1)
        if last > 0:
            await self._store.compact(log.id, first=1, last=last, records=())

    async def aclose(self) -> None:
        await self._logs.aclose()

    def abandon(self) -> None:
        """Forgets every topic without waiting for anything."""
        self._logs.abandon()


def _last_before(records: Sequence[Record], moment: float) -> int:
    """The seq of the last of ``records`` before ``moment``, in milliseconds; 0 for none."""
    last = 0
    for record in records:
        posted = decode_record(record.data).event.timestamp
        if posted is None or posted >= moment:
            break
        last = record.seq
    return last


def _digest(notice: e.NoticePosted) -> str:
    """The same whenever the same notice is posted again, which is at another time."""
    body = _encoder.encode(msgspec.structs.replace(notice, timestamp=None))
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()
