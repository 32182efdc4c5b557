"""Presence: who is connected to a session, on all nodes. Nothing of it is stored.

A node that is asked about a session asks the others, over the session's bell, and asks again every
few seconds while somebody is interested. Each node answers with its own connections, again
whenever they change. An answer that is not renewed is dropped, so a node that was killed is
forgotten, as its entry among the nodes is. A session that nobody asks about costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from ..protocol import frames as f
from ..sessions.registry import Sessions
from ..sessions.session import Session
from ..transports.connection import Connection
from ..transports.connections import Connections, Peer

logger: Final = logging.getLogger("agentws")

ASKING: Final = 4.0
"""Seconds between two questions about a session."""
FORGOTTEN: Final = 2.5 * ASKING
"""Seconds after which a node that does not answer is dropped: one answer may be lost."""
WANTED: Final = 3 * ASKING
"""Seconds for which a question holds: two that follow it may be lost."""
ANSWERING: Final = 0.5
"""Seconds that the first question about a session waits for another node at most."""
GATHER: Final = 0.1
"""Seconds for which changes are gathered, as many clients reconnect together; longer where there
are many to tell, a millisecond for each."""
MAX_MEMBERS: Final = 100
"""The most identities that are named; ``connections`` counts all."""


class NodeReport(msgspec.Struct, frozen=True):
    """What one node reports of a session: its connections, and those of each identity."""

    node: str
    connections: int
    members: dict[str, int]
    asks: bool = False
    """Whether the other nodes are to answer."""


class _Heard(NamedTuple):
    here: NodeReport
    at: float


class _Watch:
    """A session that somebody asks about here."""

    __slots__ = (
        "answered",
        "behind",
        "heard",
        "peers",
        "session",
        "settled_at",
        "shown",
        "until",
    )

    def __init__(self, session: Session) -> None:
        self.session = session
        self.peers: set[Connection] = set()
        """The connections that are told of changes."""
        self.behind: set[Connection] = set()
        """Those of them that had more to read, and were not told of the last one."""
        self.heard: dict[str, _Heard] = {}
        """The newest report of each other node."""
        self.answered = asyncio.Event()
        """Set once there is a report."""
        self.shown: f.Presence | None = None
        """What ``peers`` were told last."""
        self.settled_at = _now() + ANSWERING
        """When the first reports of the other nodes are no longer waited for."""
        self.until = 0.0
        """When it ends if it has no ``peers``, by the loop's clock."""


class Presence:
    """Who is in a session. ``node`` is this process's id among the nodes."""

    def __init__(self, *, sessions: Sessions, connections: Connections, node: str) -> None:
        self._sessions = sessions
        self._connections = connections
        self._node = node
        self._watched: dict[str, _Watch] = {}
        self._asked: dict[str, float] = {}
        """The sessions that other nodes ask about, and until when."""
        self._gathering: dict[str, asyncio.TimerHandle] = {}
        self._timer: asyncio.TimerHandle | None = None
        sessions.on_signal = self._signalled

    def __repr__(self) -> str:
        return f"<Presence watched={len(self._watched)} asked={len(self._asked)}>"

    def watch(self, connection: Connection) -> None:
        """Tells ``connection`` of every change, until it leaves or :meth:`unwatch`."""
        self._watch(connection.session).peers.add(connection)

    def unwatch(self, connection: Connection) -> None:
        watch = self._watched.get(connection.session.id)
        if watch is not None:
            watch.peers.discard(connection)
            watch.behind.discard(connection)

    async def current(self, session: Session) -> f.Presence:
        """Who is in the session now. A node that does not answer in half a second is missing."""
        watch = self._watch(session)
        watch.until = _now() + WANTED
        if self._sessions.shared and _now() < watch.settled_at:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(watch.settled_at):
                    await watch.answered.wait()
                    # The others answer in the same moment.
                    await asyncio.sleep(GATHER)
        presence = self._presence(watch)
        if watch.shown is None:
            watch.shown = presence
        elif watch.shown != presence:
            self._gather(session)
        return presence

    def close(self) -> None:
        """Forgets everything, and sets no timer any more."""
        for timer in (self._timer, *self._gathering.values()):
            if timer is not None:
                timer.cancel()
        self._timer = None
        self._connections.on_change = None
        for kept in (self._watched, self._asked, self._gathering):
            kept.clear()

    def _watch(self, session: Session) -> _Watch:
        watch = self._watched.get(session.id)
        if watch is None:
            watch = self._watched[session.id] = _Watch(session)
            self._begin()
            self._say(session, asks=True)
        # It may have been evicted and loaded again since.
        watch.session = session
        return watch

    # The other nodes

    def _say(self, session: Session, *, asks: bool = False) -> None:
        members = self._connections.members(session.followers)
        here = NodeReport(self._node, sum(members.values()), _named(members), asks)
        self._sessions.signal(session, msgspec.json.encode(here))

    def _signalled(self, session: Session, payload: bytes) -> None:
        try:
            here = msgspec.json.decode(payload, type=NodeReport)
        except msgspec.MsgspecError as error:
            logger.warning("what another node says of a session can't be decoded: %s", error)
            return
        if here.node == self._node:
            return
        watch = self._watched.get(session.id)
        if watch is not None:
            watch.heard[here.node] = _Heard(here, _now())
            watch.answered.set()
            self._gather(session)
        if here.asks:
            self._asked[session.id] = _now() + WANTED
            self._begin()
            self._say(session)

    # Changes

    def _changed(self, peer: Peer) -> None:
        """A connection of this node has come or gone."""
        session = peer.session
        if session.id in self._watched or session.id in self._asked:
            self._gather(session)

    def _gather(self, session: Session) -> None:
        if session.id not in self._gathering:
            watch = self._watched.get(session.id)
            delay = GATHER + (0.0 if watch is None else len(watch.peers) / 1000)
            later = asyncio.get_running_loop().call_later
            self._gathering[session.id] = later(delay, self._tell, session)

    def _tell(self, session: Session) -> None:
        self._gathering.pop(session.id, None)
        if session.id in self._asked:
            self._say(session)
        watch = self._watched.get(session.id)
        if watch is not None:
            self._show(watch)

    def _show(self, watch: _Watch) -> None:
        """Tells the connections that ask, if it has changed; a slow one gets the newest later."""
        presence = self._presence(watch)
        told = watch.behind if presence == watch.shown else watch.peers
        watch.shown = presence
        watch.peers = {one for one in watch.peers if one in self._connections}
        watch.behind = {one for one in told if one in watch.peers and one.unread}
        for connection in told - watch.behind:
            if connection in watch.peers:
                connection.send_control(presence)

    def _presence(self, watch: _Watch) -> f.Presence:
        members = self._connections.members(watch.session.followers)
        total = sum(members.values())
        named = dict(_named(members))
        for heard in watch.heard.values():
            total += heard.here.connections
            for id, count in heard.here.members.items():
                named[id] = named.get(id, 0) + count
        shown = [f.Present(id, count) for id, count in sorted(named.items())[:MAX_MEMBERS]]
        return f.Presence(connections=total, members=shown)

    # Time

    def _begin(self) -> None:
        if self._timer is None:
            self._connections.on_change = self._changed
            self._timer = asyncio.get_running_loop().call_later(ASKING, self._ask_again)

    def _ask_again(self) -> None:
        """Asks again about what is watched; ends when nobody asks any more."""
        now, self._timer = _now(), None
        self._asked = {id: until for id, until in self._asked.items() if until > now}
        for id, watch in tuple(self._watched.items()):
            heard = watch.heard.items()
            watch.heard = {node: one for node, one in heard if one.at > now - FORGOTTEN}
            self._show(watch)
            if watch.peers or watch.until > now:
                self._say(watch.session, asks=True)
            else:
                del self._watched[id]
        if self._watched or self._asked:
            self._begin()
        else:
            self._connections.on_change = None


def _named(members: Mapping[str | None, int]) -> dict[str, int]:
    """Those with an identity; not more than are shown."""
    named = sorted((id, count) for id, count in members.items() if id is not None)
    return dict(named[:MAX_MEMBERS])


def _now() -> float:
    return asyncio.get_running_loop().time()
