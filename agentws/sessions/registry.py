"""The sessions in memory of this node: loading (cold start), the bell, polling, eviction."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Final

from ..bus import SESSION_CHANNEL, Bus, Scope
from ..errors import AgentwsError, BadRequest, NotFound, PositionLost
from ..limits import Limits
from ..protocol.position import GENESIS, Position
from ..store import Head, Loaded, SessionInfo, Settled, Store
from ..tasks.tasks import Tasks
from .session import Session

logger: Final = logging.getLogger("agentws")

_REACH: Final[dict[Scope, int]] = {"process": 0, "host": 1, "cluster": 2}
_SESSION_ID: Final = re.compile(r"[A-Za-z0-9_.~-]{16,128}")
_SEQ_DIGITS: Final = 16
"""The most digits of a seq, as in a position."""
_SIGNAL: Final = b"!"
"""Begins a message on that channel that is not a ring; versions that do not know it read on."""


class Sessions:
    """Loads sessions, keeps those in use in memory, and evicts the others."""

    def __init__(
        self, *, store: Store, bus: Bus, limits: Limits, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._bus = bus
        self._limits = limits
        self._clock = clock
        self._open: dict[str, Session] = {}
        self._loading: dict[str, asyncio.Future[None]] = {}
        self._unsubscribe: dict[str, Callable[[], None]] = {}
        self._tasks = Tasks()
        self._idle_poll_at = 0.0
        self._publishing: str | None = None
        """The session whose ring is being published."""
        # Bound once: every session in memory holds them.
        self._on_append: Final = self._publish_ring
        self._on_ring: Final = self._receive_ring
        self._rung_while_loading: set[str] = set()
        self._failed_reads: set[str] = set()
        """Sessions with a ring whose read failed; the next poll reads them again."""
        self.on_open: Callable[[Session], None] = lambda session: None
        """Called with every session that was loaded into memory."""
        self.on_signal: Callable[[Session, bytes], None] = lambda session, payload: None
        """Called with what a node sends by :meth:`signal`."""

    def __repr__(self) -> str:
        return f"<Sessions open={len(self._open)}>"

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._open.values()))

    @property
    def followed(self) -> int:
        """How many sessions have a follower on this node."""
        return sum(bool(session.followers) for session in self._open.values())

    # Opening

    async def enter(self, id: str | None, *, owner: str | None, agent: str) -> tuple[Session, bool]:
        """The session of that id, created if there is none; and whether this call created it.

        Does not check whether ``owner`` may access a session that existed before.
        """
        if id is not None:
            with suppress(NotFound):
                return await self.find(id), False
        now = self._clock()
        wanted = SessionInfo(
            id=id or new_session_id(), owner=owner, agent=agent, created=now, updated=now
        )
        return await self._create(wanted)

    async def _create(self, wanted: SessionInfo) -> tuple[Session, bool]:
        made = False

        async def create() -> Loaded:
            nonlocal made
            epoch = secrets.token_hex(4)
            info, made = await self._store.create(wanted, epoch=epoch)
            if made:
                return Loaded(info, Head(Position(epoch, 0, GENESIS), Settled()))
            return await self._store.load(info.id)

        session = await self._load(wanted.id, create)
        return session, made

    async def find(self, id: str) -> Session:
        """An existing session, without a check of its owner: for the server's own use.

        Raises NotFound.
        """
        known = self._open.get(id)
        if known is not None:
            return self._touch(known)
        return await self._load(id, partial(self._store.load, id))

    def _touch(self, session: Session) -> Session:
        """Marks the session as used now, so that it is not evicted before its caller follows it."""
        session.used = asyncio.get_running_loop().time()
        return session

    async def _load(self, id: str, load: Callable[[], Awaitable[Loaded]]) -> Session:
        """Loads a session once, however many callers ask for it at the same time."""
        earlier = self._loading.get(id)
        while id not in self._open:
            loading = self._loading.get(id)
            if loading is None:
                return await self._load_for_all(id, load)
            try:
                await asyncio.shield(loading)
            except Exception:
                # One that began before this call says nothing of now: the store may be back.
                if loading is not earlier:
                    raise
        return self._touch(self._open[id])

    async def _load_for_all(self, id: str, load: Callable[[], Awaitable[Loaded]]) -> Session:
        """Loads a session, while others wait for it."""
        loading = self._loading[id] = asyncio.get_running_loop().create_future()
        try:
            return await self._load_now(id, load)
        except Exception as error:
            loading.set_exception(error)
            loading.exception()
            raise
        finally:
            del self._loading[id]
            if not loading.done():
                # After a cancellation of this caller, too: then one of the others loads it.
                loading.set_result(None)

    async def _load_now(self, id: str, load: Callable[[], Awaitable[Loaded]]) -> Session:
        # Subscribe before the first read: an append between the two must not be missed.
        unsubscribe = self._bus.subscribe(SESSION_CHANNEL + id, self._on_ring)
        try:
            loaded = await load()
            session = await Session.load(
                loaded.info, self._store, tail_size=self._limits.tail_size, head=loaded.head
            )
        except BaseException:
            unsubscribe()
            self._rung_while_loading.discard(id)
            raise
        self._unsubscribe[id] = unsubscribe
        session.on_append = self._on_append
        session.max_event_size = self._limits.max_event_size
        session.used = asyncio.get_running_loop().time()
        self._open[id] = session
        self.on_open(session)
        if id in self._rung_while_loading:
            self._rung_while_loading.discard(id)
            self._schedule_catch_up(session)
        return session

    # The bell

    def _publish_ring(self, session: Session) -> None:
        if self._store.exclusive:
            return  # no other node reads this log
        # A bus also delivers to its own process, while it publishes: this node ignores that ring.
        self._publishing = session.id
        self._bus.publish(SESSION_CHANNEL + session.id, b"%d" % session.head.seq)
        self._publishing = None

    def _receive_ring(self, channel: str, payload: bytes) -> None:
        """The payload is the seq of the log's end as the ringing node knows it."""
        id = channel.removeprefix(SESSION_CHANNEL)
        if id == self._publishing:
            return
        session = self._open.get(id)
        if session is None:
            self._rung_while_loading.add(id)
        elif payload.isdigit():
            # Anything may be published on a bus; Python refuses to read very long numbers.
            if int(payload[:_SEQ_DIGITS]) > session.head.seq:
                self._schedule_catch_up(session)
        elif payload.startswith(_SIGNAL):
            self.on_signal(session, payload[len(_SIGNAL) :])
        else:
            self._schedule_catch_up(session)

    @property
    def shared(self) -> bool:
        """Whether another node may have the same sessions."""
        return not self._store.exclusive

    def signal(self, session: Session, payload: bytes) -> None:
        """Sends a message to every node that has the session in memory, also to this one.

        It may be lost.
        """
        if self.shared:
            self._bus.publish(SESSION_CHANNEL + session.id, _SIGNAL + payload)

    def _schedule_catch_up(self, session: Session) -> None:
        reading = self._catch_up(session)
        self._tasks.call_store(
            reading, name=f"reading on in {session.id}", immediate=session.immediate
        )

    async def _catch_up(self, session: Session) -> None:
        try:
            await session.catch_up()
        except PositionLost:
            self._evict(session)
        except AgentwsError as error:
            logger.warning("session %s can't be read: %s", session.id, error)
            # There may be no further ring for it.
            self._failed_reads.add(session.id)

    @property
    def needs_polling(self) -> bool:
        """Whether an append on another node may cause no ring here.

        True if the bus may lose messages, or does not reach all nodes of the store.
        """
        return not self._bus.lossless or _REACH[self._bus.scope] < _REACH[self._store.scope]

    async def poll(self) -> None:
        """Finds logs that grew without a ring: the fallback for a lost ring.

        Checks sessions with an active run each time, the others every ``idle_poll_interval``.
        """
        failed, self._failed_reads = self._failed_reads, set()
        for id in failed & self._open.keys():
            self._schedule_catch_up(self._open[id])
        if not self.needs_polling:
            return
        now = asyncio.get_running_loop().time()
        everything = now >= self._idle_poll_at
        if everything:
            self._idle_poll_at = now + self._limits.idle_poll_interval
        polled = [one for one in self if everything or not one.outline.is_settled()]
        # Taken before the query: its answer may not contain what is appended meanwhile.
        known = [session.head.seq for session in polled]
        heads = await self._store.heads([session.id for session in polled])
        for session, before, head in zip(polled, known, heads, strict=True):
            if head is None or head < before:
                session.invalidate()
                self._evict(session)
            elif head > session.head.seq:
                self._schedule_catch_up(session)

    # Eviction

    def sweep(self, *, busy: Callable[[Session], bool]) -> None:
        """Evicts idle sessions from memory.

        A session is idle when it has had no follower, no run (``busy``) and no other use for
        ``Limits.session_idle`` seconds. Its log stays in the store; the next use loads it again.
        """
        now = asyncio.get_running_loop().time()
        for session in self:
            if session.followers or busy(session):
                session.used = now
            elif now - session.used >= self._limits.session_idle:
                self._evict(session)

    def evict_deleted(self, id: str) -> None:
        """Evicts a session that was deleted, and tells its followers."""
        session = self._open.get(id)
        if session is not None:
            session.invalidate()
            self._evict(session)

    def _evict(self, session: Session) -> None:
        if self._open.get(session.id) is session:
            del self._open[session.id]
            self._unsubscribe.pop(session.id)()

    async def aclose(self) -> None:
        await self._tasks.aclose(grace=1.0)
        self.abandon()

    def abandon(self) -> None:
        """Evicts every session without waiting for anything."""
        for session in self:
            self._evict(session)


def check_session_id(id: str) -> None:
    """Raises BadRequest for an id of a form that a client may not choose."""
    if not _SESSION_ID.fullmatch(id):
        raise BadRequest(
            "This session id is not valid.", expected="16 to 128 of A-Z a-z 0-9 _ . ~ -"
        )


def new_session_id() -> str:
    """An unguessable id (192 random bits): knowing it gives access to an anonymous session."""
    return f"ses_{secrets.token_urlsafe(24)}"
