"""The sessions that are in memory here, and how they come and go."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Final

from ..bus import Bus, Scope
from ..errors import AgentwsError, BadRequest, PositionLost, Unavailable
from ..limits import Limits
from ..store import SessionInfo, Store
from ..tasks.tasks import Tasks
from .session import Session

logger: Final = logging.getLogger("agentws")

_REACH: Final[dict[Scope, int]] = {"process": 0, "host": 1, "cluster": 2}
_SESSION_ID: Final = re.compile(r"[A-Za-z0-9_.~-]{16,128}")
_BELL: Final = "s:"
"""Prefix of the bus channel of a session."""


class Sessions:
    """Opens sessions, keeps those in use, and lets go of the others."""

    def __init__(
        self, *, store: Store, bus: Bus, limits: Limits, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._bus = bus
        self._limits = limits
        self._clock = clock
        self._open: dict[str, Session] = {}
        self._loading: dict[str, asyncio.Future[Session]] = {}
        self._unsubscribe: dict[str, Callable[[], None]] = {}
        self._tasks = Tasks()
        self._idle_poll_at = 0.0
        self._ringing: str | None = None
        # Bound once: every session in memory holds them.
        self._tell: Final = self._appended
        self._listen: Final = self._rung
        self._rung_early: set[str] = set()
        self._unread: set[str] = set()
        """Sessions that were rung for and could not be read."""
        self.on_open: Callable[[Session], None] = lambda session: None
        """Called with every session that comes into memory."""

    def __repr__(self) -> str:
        return f"<Sessions open={len(self._open)}>"

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._open.values()))

    @property
    def followed(self) -> int:
        """How many sessions somebody follows here."""
        return sum(bool(session.followers) for session in self._open.values())

    # Opening

    async def enter(self, id: str | None, *, owner: str | None, agent: str) -> tuple[Session, bool]:
        """The session of that id, made now if there is none; and whether it was made.

        Says nothing of whether ``owner`` may see a session that was there before.
        """
        if id is not None and id in self._open:
            return self._in_use(self._open[id]), False
        now = self._clock()
        wanted = SessionInfo(
            id=id or new_session_id(), owner=owner, agent=agent, created=now, updated=now
        )
        info, made = await self._store.create(wanted, epoch=secrets.token_hex(4))
        return await self._load(info), made

    async def find(self, id: str) -> Session:
        """An existing session, whoever owns it: for the server itself. Raises NotFound."""
        known = self._open.get(id)
        if known is not None:
            return self._in_use(known)
        return await self._load(await self._store.info(id))

    def _in_use(self, session: Session) -> Session:
        """Keeps the session from being let go before whoever asked for it follows it."""
        session.used = asyncio.get_running_loop().time()
        return session

    async def _load(self, info: SessionInfo) -> Session:
        """Loads a session once, however many ask for it at the same time."""
        if info.id in self._open:
            return self._in_use(self._open[info.id])
        if info.id in self._loading:
            return await asyncio.shield(self._loading[info.id])
        loading = self._loading[info.id] = asyncio.get_running_loop().create_future()
        try:
            session = await self._load_now(info)
        except BaseException as error:
            # A loader that was cancelled says nothing of whether the session is there.
            loading.set_exception(error if isinstance(error, Exception) else Unavailable())
            loading.exception()
            raise
        finally:
            del self._loading[info.id]
        loading.set_result(session)
        return session

    async def _load_now(self, info: SessionInfo) -> Session:
        # The bell is subscribed to before the first read, so that no append falls between them.
        unsubscribe = self._bus.subscribe(_BELL + info.id, self._listen)
        try:
            session = await Session.load(info, self._store, tail_size=self._limits.tail_size)
        except BaseException:
            unsubscribe()
            self._rung_early.discard(info.id)
            raise
        self._unsubscribe[info.id] = unsubscribe
        session.on_append = self._tell
        session.max_event_size = self._limits.max_event_size
        session.used = asyncio.get_running_loop().time()
        self._open[info.id] = session
        self.on_open(session)
        if info.id in self._rung_early:
            self._rung_early.discard(info.id)
            self._ring(session)
        return session

    # The bell

    def _appended(self, session: Session) -> None:
        if self._store.exclusive:
            return  # no other node reads this log
        # A bus within the process rings back at once: what was just written here is known here.
        self._ringing = session.id
        self._bus.publish(_BELL + session.id, b"%d" % session.head.seq)
        self._ringing = None

    def _rung(self, channel: str, payload: bytes) -> None:
        id = channel.removeprefix(_BELL)
        if id == self._ringing:
            return
        session = self._open.get(id)
        if session is None:
            self._rung_early.add(id)
        elif not payload.isdigit() or int(payload) > session.head.seq:
            self._ring(session)

    def _ring(self, session: Session) -> None:
        reading = self._catch_up(session)
        self._tasks.ask(reading, name=f"reading on in {session.id}", immediate=session.immediate)

    async def _catch_up(self, session: Session) -> None:
        try:
            await session.catch_up()
        except PositionLost:
            self._drop(session)
        except AgentwsError as error:
            logger.warning("session %s can't be read: %s", session.id, error)
            # Nobody may ring again.
            self._unread.add(session.id)

    @property
    def needs_polling(self) -> bool:
        """Whether an append elsewhere may go unheard: the bus loses rings, or reaches too few."""
        return not self._bus.lossless or _REACH[self._bus.scope] < _REACH[self._store.scope]

    async def poll(self) -> None:
        """Looks whether logs grew unheard: those with a run each time, the others less often."""
        unread, self._unread = self._unread, set()
        for id in unread & self._open.keys():
            self._ring(self._open[id])
        if not self.needs_polling:
            return
        now = asyncio.get_running_loop().time()
        everything = now >= self._idle_poll_at
        if everything:
            self._idle_poll_at = now + self._limits.idle_poll_interval
        looked_at = [one for one in self if everything or not one.outline.settled]
        # As of before the question: what is appended while it is answered may not be in the answer.
        known = [session.head.seq for session in looked_at]
        heads = await self._store.heads([session.id for session in looked_at])
        for session, before, head in zip(looked_at, known, heads, strict=True):
            if head is None or head < before:
                session.void()
                self._drop(session)
            elif head > session.head.seq:
                self._ring(session)

    # Going

    def sweep(self, *, busy: Callable[[Session], bool]) -> None:
        """Lets go of sessions that nobody followed, and nothing ran, for their idle time."""
        now = asyncio.get_running_loop().time()
        for session in self:
            if session.followers or busy(session):
                session.used = now
            elif now - session.used >= self._limits.session_idle:
                self._drop(session)

    def forget(self, id: str) -> None:
        """The session was deleted: whoever follows it is told."""
        session = self._open.get(id)
        if session is not None:
            session.void()
            self._drop(session)

    def _drop(self, session: Session) -> None:
        if self._open.get(session.id) is session:
            del self._open[session.id]
            self._unsubscribe.pop(session.id)()

    async def aclose(self) -> None:
        await self._tasks.aclose(grace=1.0)
        self.abandon()

    def abandon(self) -> None:
        """Lets go of every session, and waits for nothing."""
        for session in self:
            self._drop(session)


def check_session_id(id: str) -> None:
    """Raises BadRequest for an id of another form than a client may choose."""
    if not _SESSION_ID.fullmatch(id):
        raise BadRequest(
            "This session id does not fit.", expected="16 to 128 of A-Z a-z 0-9 _ . ~ -"
        )


def new_session_id() -> str:
    """192 random bits: an anonymous session belongs to whoever holds its id."""
    return f"ses_{secrets.token_urlsafe(24)}"
