"""The feeds of one node: for each topic that is followed here, its log and who follows it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from ..protocol.codec import Record
from ..protocol.topics import topic_frames, topic_of
from ..sessions.follower import Follower
from ..sessions.session import Session
from ..sessions.topics import Topics
from ..tasks.tasks import Tasks
from .connections import SLICE, Peer


class Feed:
    """The one follower of a topic's log, which rings the others in slices: they may be many.

    ``peers`` has each connection with the cursor that it reads by; a stream (SSE) rings itself.
    """

    __slots__ = ("_frames", "_rung", "_span", "_tasks", "log", "peers")

    def __init__(self, log: Session, tasks: Tasks) -> None:
        self.log: Final = log
        self.peers: dict[Peer, Follower | None] = {}
        self._tasks = tasks
        self._rung: bool | None = None
        """Whether it was rung again while it rings; ``None`` while it does not ring."""
        self._span: tuple[int, int] | None = None
        self._frames: Sequence[bytes] = ()

    def __repr__(self) -> str:
        return f"<Feed {self.log.id} peers={len(self.peers)}>"

    def ring(self) -> None:
        if self._rung is not None:
            self._rung = True
        elif len(self.peers) <= SLICE:
            for cursor in tuple(self.peers.values()):
                _ring(cursor)
        else:
            self._rung = True
            self._tasks.spawn(self._ring_all(), name=f"ringing {self.log.id}")

    async def _ring_all(self) -> None:
        """Rings in slices: the answers of agents must not wait until thousands were written to."""
        try:
            while self._rung:
                self._rung = False
                for turn, cursor in enumerate(tuple(self.peers.values()), start=1):
                    _ring(cursor)
                    if turn % SLICE == 0:
                        await asyncio.sleep(0)
        finally:
            self._rung = None

    def lost(self) -> None:
        for cursor in tuple(self.peers.values()):
            if cursor is not None:
                cursor.lost()

    def frames(self, records: Sequence[Record]) -> Sequence[bytes]:
        """The event frames of ``records``, encoded once for all who read the same ones."""
        span = records[0].seq, records[-1].seq
        if span != self._span:
            frames = topic_frames(topic_of(self.log.id), self.log.head.epoch, records)
            self._span, self._frames = span, frames
        return self._frames


class Feeds:
    """The feeds by their topic's name. A feed lives as long as a peer is in it."""

    def __init__(self, topics: Topics, tasks: Tasks) -> None:
        self._topics = topics
        self._tasks = tasks
        self._feeds: dict[str, Feed] = {}

    def __repr__(self) -> str:
        return f"<Feeds {len(self._feeds)}>"

    async def join(self, name: str, peer: Peer, cursor: Follower | None) -> Feed:
        """Adds ``peer`` to the feed of a topic; ``cursor`` is rung when it has grown.

        Raises BadRequest for the name, Unavailable.
        """
        log = await self._topics.open(name)
        feed = self._feeds.get(name)
        if feed is None or feed.log is not log:
            feed = self._feeds[name] = Feed(log, self._tasks)
            log.follow(feed)
        feed.peers[peer] = cursor
        return feed

    def leave(self, feed: Feed, peer: Peer) -> None:
        """Removes ``peer``; does nothing if it is not in the feed."""
        feed.peers.pop(peer, None)
        if feed.peers:
            return
        feed.log.unfollow(feed)
        name = topic_of(feed.log.id)
        if self._feeds.get(name) is feed:
            del self._feeds[name]

    async def log(self, name: str) -> Session:
        """The log of a topic, for one who does not join its feed. Raises as :meth:`join`."""
        return await self._topics.open(name)

    def audience(self, name: str) -> Sequence[Peer]:
        """The peers that follow the topic here."""
        feed = self._feeds.get(name)
        return () if feed is None else tuple(feed.peers)


def _ring(cursor: Follower | None) -> None:
    if cursor is not None:
        cursor.ring()
