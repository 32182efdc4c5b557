"""The store port: where logs live. The store is the truth.

Cut at the domain's verbs, so that a backend is one file over one technology. What a backend must
keep is written in the docstrings below and checked by ``agentws.testing.StoreContract``; subclass
that to test your own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from .protocol.codec import Record, extend
from .protocol.frames import Durability
from .protocol.messages import Metadata
from .protocol.position import GENESIS, Position, chain

__all__ = ["GENESIS", "PAGE", "Appended", "Durability", "Head", "Key", "Lease", "Metadata"]
__all__ += ["Position", "Record", "Scope", "SessionInfo", "Settled", "Store", "chain", "extend"]

Scope = Literal["process", "host", "cluster"]
"""Who shares a store, or is reached by a bus."""

PAGE: Final = 500
"""Records in one read, unless the caller asks for another number."""


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What is known of a session besides its log. Times are seconds since the epoch."""

    id: str
    owner: str | None = None
    """The identity it belongs to; ``None``: whoever holds its unguessable id."""
    agent: str
    created: float
    updated: float
    title: str | None = None
    metadata: Metadata | None = None


class Settled(msgspec.Struct, frozen=True, gc=False):
    """How far a log is settled: nothing at or before ``seq`` is open."""

    seq: int = 0
    carried: bytes = b""
    """What the log's reader has to remember from there on, up to a megabyte; opaque to a store."""


class Head(msgspec.Struct, frozen=True, gc=False):
    """The end of a log, and how far it is settled."""

    position: Position
    settled: Settled


class Appended(msgspec.Struct, frozen=True, gc=False):
    """What an append did."""

    records: Sequence[Record]
    """The events as they now stand in the log; ``()`` for a duplicate."""
    position: Position
    """The position of the last of them; for a duplicate, the first append's."""
    duplicate: bool = False


class Key(msgspec.Struct, frozen=True, gc=False):
    """Makes an append idempotent: ``id`` names it for the life of the log, ``digest`` its body."""

    id: str
    digest: str


class Lease(msgspec.Struct, frozen=True, gc=False):
    """The right to run a session's agent. ``fence`` is ``"<epoch>:<counter>"`` and only grows."""

    session: str
    owner: str
    fence: str
    ttl: float


class Store(ABC):
    """Keeps sessions and their logs.

    Every method is safe to call from one event loop concurrently. A call that failed may have been
    done. It is safe to make again, for everything but an append is idempotent by nature, and an
    append under a :class:`Key` happens once; one without a key would happen twice.
    A call that is cancelled leaves the store whole (all of an append, or nothing).
    When the technology fails, methods raise ``Unavailable`` (or ``StorageFull``), nothing else.
    Before :meth:`open` and after :meth:`close` a store answers as ever or raises ``Unavailable``.
    """

    scope: Scope
    """Who may share this store: one process, one host, or many."""
    durability: Durability
    """What an append has met when it returns."""
    immediate: bool = False
    """Whether every method ends where it is called, without ever waiting: such a store may be
    called outside a task. Any other may use what needs one, such as ``asyncio.timeout``."""
    exclusive: bool = False
    """Whether one gateway alone uses the store. Where it is ``immediate``, too, nothing that this
    gateway does not know of comes between what is decided on a log and its append."""

    async def open(self) -> None:  # noqa: B027 - a backend without connections has nothing to do
        """Connects, creates the schema. Raises ``Unavailable`` with one clear line if it can't."""

    async def close(self) -> None:  # noqa: B027 - a backend without connections has nothing to do
        """Finishes what is under way and lets go. Closing twice does nothing."""

    async def ping(self) -> None:  # noqa: B027 - a backend without connections has nothing to do
        """Returns when the store answers; raises ``Unavailable`` when it does not."""

    # Sessions

    @abstractmethod
    async def create(self, info: SessionInfo, *, epoch: str) -> tuple[SessionInfo, bool]:
        """Begins a session with an empty log, or finds the one that has this id.

        Returns the session that is there now, and whether it was made by this call. Of concurrent
        calls exactly one makes it. Raises NotFound for an id that was deleted: it is never reused.
        """

    @abstractmethod
    async def info(self, session: str) -> SessionInfo:
        """Raises NotFound when there is no such session."""

    @abstractmethod
    async def update(
        self, session: str, *, title: str | None = None, metadata: Metadata | None = None
    ) -> SessionInfo:
        """Changes what is given, and ``updated`` by the store's clock. Raises NotFound."""

    @abstractmethod
    async def sessions(
        self, *, owner: str, before: tuple[float, str] | None = None, limit: int = 50
    ) -> Sequence[SessionInfo]:
        """The next ``limit`` sessions of ``owner``, by ``(updated, id)``, the greatest first.

        Those below ``before``: the ``(updated, id)`` of the last on the page before, which may
        have changed or gone since. Ids compare by code point. Fewer only at the end of the list.
        """

    @abstractmethod
    async def delete(self, session: str) -> None:
        """Removes the session, its log and its keys, and remembers that the id is used up.

        Deleting what is not there does nothing.
        """

    @abstractmethod
    async def stale(self, *, updated_before: float, limit: int = 100) -> Sequence[str]:
        """Ids of sessions last updated before that time (seconds since the epoch).

        By ``(updated, id)``, the oldest first.
        """

    # The log

    @abstractmethod
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
        """Appends ``events`` (records' bytes), all or none, with consecutive seqs and chained tags.

        Atomic and totally ordered per session: readers see all of them, in order, or none yet.
        ``key``: a second append under the same id changes nothing and returns the first one's
        position, ``duplicate`` true; raises IdempotencyConflict when its digest differs.
        ``fence``: checked in the same atomic step; raises Fenced when it is not the newest lease's.
        ``settled``: raises the log's settled mark to this one in the same step; one with a lower
        seq changes nothing; with an equal seq it replaces ``carried``.
        ``expect``: the seq of the log's end that the caller has decided on (an expected version).
        Checked in the same atomic step: raises VersionConflict when the end is another one. So of
        concurrent appends that expect the same end exactly one is made, whichever node makes it.
        ``commutes``: the events change nothing that any command is decided on, as the text of an
        answer does not: an ``expect`` from before them still holds after them. A store keeps for
        this one number a log, the seq of the last event that was appended without ``commutes``,
        and refuses an ``expect`` below it, or above the log's end.
        Checks are made in this order: the session, ``fence``, ``key``, ``expect``; a duplicate
        under ``key`` is told whatever it expects.
        ``events`` may be empty, to claim ``key`` or to set ``settled`` alone; the position is then
        the log's end. Raises NotFound.
        """

    @abstractmethod
    async def find(self, session: str, key: Key) -> Appended | None:
        """What an append under ``key`` would return as its duplicate; ``None`` if there was none.

        Raises IdempotencyConflict when the key has another digest, NotFound without a session.
        """

    @abstractmethod
    async def head(self, session: str) -> Head:
        """The end of the log. Raises NotFound."""

    @abstractmethod
    async def heads(self, sessions: Sequence[str]) -> Sequence[int | None]:
        """The last seq of each, ``None`` where there is no such session: one cheap look at many."""

    @abstractmethod
    async def read(
        self, session: str, *, after: Position | None = None, limit: int = PAGE
    ) -> Sequence[Record]:
        """The next ``limit`` events after that position (exclusive), or from the beginning.

        Fewer only where the log ends, however large they are: readers take a short page for the
        last. Never returns an event whose predecessors are not readable. Raises PositionLost with
        ``epoch``, ``future``, ``compacted`` (no event at that seq any more) or ``diverged``
        (another tag there). Raises NotFound.
        """

    @abstractmethod
    async def read_back(self, session: str, *, before: int, limit: int = PAGE) -> Sequence[Record]:
        """The nearest ``limit`` events with a seq below ``before``, in log order.

        Fewer only where the log begins. Raises NotFound.
        """

    @abstractmethod
    async def compact(
        self, session: str, *, first: int, last: int, records: Sequence[Record]
    ) -> None:
        """Makes the events with seqs ``first`` to ``last`` exactly ``records``, atomically.

        ``records`` keep seqs and tags that are there; what is left out is gone. The head, its
        tag, keys and later events stay. Doing it twice changes nothing more. Raises NotFound.
        """

    # Leases

    @abstractmethod
    async def lease(self, session: str, *, owner: str, ttl: float) -> Lease | None:
        """Takes the session's lease for ``ttl`` seconds by the store's clock.

        ``None`` while another owner's has not expired. The holder gets its own again, renewed,
        with the same fence; a new holder gets a greater one, and every append under an older
        fence is refused from then on. Raises NotFound.
        """

    @abstractmethod
    async def renew(self, owner: str, sessions: Sequence[str], *, ttl: float) -> Sequence[str]:
        """Renews those of ``owner``'s leases; returns the sessions still held."""

    @abstractmethod
    async def release(self, lease: Lease) -> None:
        """Gives the lease up at once, if it is still held; its fence stays used."""

    @abstractmethod
    async def unsettled(self, *, limit: int = 100) -> Sequence[str]:
        """Sessions whose log goes beyond ``settled.seq`` and that nobody holds a lease of.

        By ``(updated, id)``, the oldest first.
        """
