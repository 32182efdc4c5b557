"""The store in memory: everything in it is lost when its process ends."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from ..bus import Scope
from ..errors import Fenced, IdempotencyConflict, NotFound, PositionLost, VersionConflict
from ..protocol.codec import Record, extend
from ..protocol.frames import Durability
from ..protocol.messages import Metadata
from ..protocol.position import GENESIS, Position
from ..protocol.search import Words, contains, searchable, terms_of, words_of
from ..store import PAGE, Appended, Head, Key, Lease, Loaded, Node, SessionInfo, Settled, Store

_UNSETTLED: Final = Settled()


class _Log:
    """One session: its info, its events, its idempotency keys and its lease."""

    __slots__ = (
        "current_fence",
        "fence",
        "_info",
        "head",
        "keys",
        "lease_until",
        "owner",
        "records",
        "settled",
        "updated",
        "version",
    )

    def __init__(self, info: SessionInfo, epoch: str) -> None:
        self._info = info
        self.updated = info.updated
        self.head = Position(epoch, 0, GENESIS)
        self.records: list[Record] = []
        self.keys: dict[str, tuple[str, Position]] | None = None
        self.settled = _UNSETTLED
        self.version = 0
        """The seq of the last event that was appended without ``commutes``."""
        self.fence = 0
        self.current_fence = f"{epoch}:0"
        self.owner: str | None = None
        self.lease_until = 0.0

    @property
    def info(self) -> SessionInfo:
        if self._info.updated != self.updated:
            # Here and not in each append, of which it would be a large part.
            self._info = msgspec.structs.replace(self._info, updated=self.updated)
        return self._info

    def change(self, members: Mapping[str, Any], *, now: float) -> None:
        self.updated = now
        self._info = msgspec.structs.replace(self._info, **members)

    def issue_fence(self) -> None:
        """Issues the next fencing token; every older one is refused from now on."""
        self.fence += 1
        self.current_fence = f"{self.head.epoch}:{self.fence}"

    def index_after(self, seq: int) -> int:
        return bisect_right(self.records, seq, key=_seq)

    def leased(self, now: float) -> bool:
        return self.owner is not None and self.lease_until > now


def _seq(record: Record) -> int:
    return record.seq


class MemoryStore(Store):
    """Keeps everything in dictionaries: for tests, demos and sessions that may be lost.

    ``clock`` returns seconds since the epoch, ``monotonic`` the seconds by which leases expire.
    """

    scope: Scope = "process"
    durability: Durability = "process"
    immediate = True
    exclusive = True

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._logs: dict[str, _Log] = {}
        self._deleted: set[str] = set()
        self._nodes: dict[str, tuple[str, bytes, float]] = {}
        """By id: the instance, its data, and when the entry expires."""
        self._users = 0

    def __repr__(self) -> str:
        return f"<MemoryStore sessions={len(self._logs)}>"

    async def open(self) -> None:
        self._set_users(self._users + 1)

    async def close(self) -> None:
        self._set_users(max(0, self._users - 1))

    def _set_users(self, users: int) -> None:
        self._users = users
        self.exclusive = users < 2

    def _log(self, session: str) -> _Log:
        try:
            return self._logs[session]
        except KeyError:
            raise NotFound("There is no such session.") from None

    # Sessions

    async def create(self, info: SessionInfo, *, epoch: str) -> tuple[SessionInfo, bool]:
        if info.id in self._deleted:
            raise NotFound("This session was deleted.")
        known = self._logs.get(info.id)
        if known is not None:
            return known.info, False
        self._logs[info.id] = _Log(info, epoch)
        return info, True

    async def info(self, session: str) -> SessionInfo:
        return self._log(session).info

    async def load(self, session: str) -> Loaded:
        log = self._log(session)
        return Loaded(log.info, Head(log.head, log.settled))

    async def update(
        self,
        session: str,
        *,
        title: str | None = None,
        metadata: Metadata | None = None,
        agent: str | None = None,
        retention: float | UnsetType | None = UNSET,
        keep_title: bool = False,
    ) -> SessionInfo:
        log = self._log(session)
        kept = log.info.title if keep_title else None
        changes = {"title": kept or title, "metadata": metadata, "agent": agent}
        given: dict[str, Any] = {
            name: value for name, value in changes.items() if value is not None
        }
        if retention is not UNSET:
            given["retention"] = retention
        log.change(given, now=self._clock())
        return log.info

    async def sessions(
        self, *, owner: str, before: tuple[float, str] | None = None, limit: int = 50
    ) -> Sequence[SessionInfo]:
        owned = [log.info for log in self._logs.values() if log.info.owner == owner]
        return _newest(owned, before, limit)

    async def search(
        self,
        owner: str,
        query: str,
        *,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> Sequence[SessionInfo]:
        terms = terms_of(query)
        owned = (log for log in self._logs.values() if log.info.owner == owner)
        found = [log.info for log in owned if terms and _matches(log, terms)]
        return _newest(found, before, limit)

    async def delete(self, session: str, *, updated: float | None = None) -> bool:
        log = self._logs.get(session)
        if log is None:
            return True
        if updated is not None and (log.info.updated != updated or log.leased(self._monotonic())):
            return False
        del self._logs[session]
        self._deleted.add(session)
        return True

    async def stale(self, *, retention: float | None, limit: int = 100) -> Sequence[SessionInfo]:
        now, monotonic = self._clock(), self._monotonic()
        expired = [
            (info.updated + kept, info.id, info)
            for log in self._logs.values()
            if (kept := retention if (info := log.info).retention is None else info.retention)
            is not None
            and info.updated + kept < now
            and not log.leased(monotonic)
        ]
        return [info for _, _, info in sorted(expired, key=itemgetter(0, 1))[:limit]]

    # The log

    async def append(
        self,
        session: str,
        events: Sequence[bytes],
        *,
        key: Key | None = None,
        fence: str | None = None,
        settled: Settled | None = None,
        expect: int | None = None,
        commutes: bool = False,
    ) -> Appended:
        log = self._log(session)
        if fence is not None and fence != log.current_fence:
            raise Fenced()
        if key is not None and log.keys is not None and key.id in log.keys:
            return self._duplicate(log, key)
        if expect is not None and not log.version <= expect <= log.head.seq:
            raise VersionConflict()
        records = extend(log.head, events)
        if records:
            log.records += records
            last = records[-1]
            log.head = Position(log.head.epoch, last.seq, last.tag)
            if not commutes:
                log.version = last.seq
            log.updated = self._clock()
        if key is not None:
            log.keys = log.keys or {}
            log.keys[key.id] = (key.digest, log.head)
        if settled is not None and settled.seq >= log.settled.seq:
            log.settled = settled
        return Appended(records, log.head)

    async def find(self, session: str, key: Key) -> Appended | None:
        log = self._log(session)
        return self._duplicate(log, key) if log.keys is not None and key.id in log.keys else None

    def _duplicate(self, log: _Log, key: Key) -> Appended:
        assert log.keys is not None
        digest, position = log.keys[key.id]
        if digest != key.digest:
            raise IdempotencyConflict()
        return Appended((), position, duplicate=True)

    async def head(self, session: str) -> Head:
        log = self._log(session)
        return Head(log.head, log.settled)

    async def heads(self, sessions: Sequence[str]) -> Sequence[int | None]:
        logs = (self._logs.get(session) for session in sessions)
        return [None if log is None else log.head.seq for log in logs]

    async def read(
        self, session: str, *, after: Position | None = None, limit: int = PAGE
    ) -> Sequence[Record]:
        log = self._log(session)
        start = 0 if after is None else _index_after(log, after)
        return log.records[start : start + limit]

    async def read_back(self, session: str, *, before: int, limit: int = PAGE) -> Sequence[Record]:
        log = self._log(session)
        end = log.index_after(before - 1)
        return log.records[max(0, end - limit) : end]

    async def compact(
        self, session: str, *, first: int, last: int, records: Sequence[Record]
    ) -> None:
        log = self._log(session)
        start = bisect_left(log.records, first, key=_seq)
        log.records[start : log.index_after(last)] = records

    # Leases

    async def lease(self, session: str, *, owner: str, ttl: float) -> Lease | None:
        log, now = self._log(session), self._monotonic()
        held = log.leased(now)
        if held and log.owner != owner:
            return None
        if not held:
            log.issue_fence()
        log.owner, log.lease_until = owner, now + ttl
        return Lease(session, owner, log.current_fence, ttl)

    async def renew(self, owner: str, sessions: Sequence[str], *, ttl: float) -> Sequence[str]:
        now = self._monotonic()
        held = []
        for session in sessions:
            log = self._logs.get(session)
            if log is not None and log.owner == owner and log.leased(now):
                log.lease_until = now + ttl
                held.append(session)
        return held

    async def release(self, lease: Lease) -> None:
        log = self._logs.get(lease.session)
        if log is not None and log.owner == lease.owner and lease.fence == log.current_fence:
            log.owner = None

    async def unsettled(self, *, limit: int = 100) -> Sequence[str]:
        now = self._monotonic()
        free = (log for log in self._logs.values() if not log.leased(now))
        return _oldest((log.info for log in free if log.head.seq > log.settled.seq), limit)

    # Nodes

    async def beat(self, node: str, *, instance: str, data: bytes, ttl: float) -> bool:
        now = self._monotonic()
        self._nodes = {id: entry for id, entry in self._nodes.items() if entry[2] > now}
        if node in self._nodes and self._nodes[node][0] != instance:
            return False
        self._nodes[node] = instance, data, now + ttl
        return True

    async def nodes(self) -> Sequence[Node]:
        now = self._monotonic()
        live = sorted((id, data) for id, (_, data, until) in self._nodes.items() if until > now)
        return [Node(id, data) for id, data in live]

    async def leave(self, node: str, *, instance: str) -> None:
        if self._nodes.get(node, ("",))[0] == instance:
            del self._nodes[node]


def _age(info: SessionInfo) -> tuple[float, str]:
    return info.updated, info.id


def _newest(
    infos: Iterable[SessionInfo], before: tuple[float, str] | None, limit: int
) -> list[SessionInfo]:
    found = [info for info in infos if before is None or _age(info) < before]
    return sorted(found, key=_age, reverse=True)[:limit]


def _matches(log: _Log, terms: Sequence[Words]) -> bool:
    texts = [words_of(log.info.title or ""), *searchable(log.records).messages]
    return all(any(contains(words, term) for words in texts) for term in terms)


def _oldest(infos: Iterable[SessionInfo], limit: int) -> list[str]:
    return [info.id for info in sorted(infos, key=_age)[:limit]]


def _index_after(log: _Log, after: Position) -> int:
    """The index of the first record after that position; raises PositionLost."""
    if after.epoch != log.head.epoch:
        raise PositionLost("epoch")
    if after.seq > log.head.seq:
        raise PositionLost("future")
    if after.seq == 0:
        return 0
    index = log.index_after(after.seq)
    if index == 0 or log.records[index - 1].seq != after.seq:
        raise PositionLost("compacted")
    if log.records[index - 1].tag != after.tag:
        raise PositionLost("diverged")
    return index
