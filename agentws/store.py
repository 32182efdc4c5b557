"""The store port: where logs are kept. The store is the source of truth.

To add a store, subclass :class:`Store`: a backend is one file over one technology, in ``backends``
or in a package of your own. The docstrings below say what it must keep, and
``agentws.testing.StoreContract`` checks it; subclass that to test yours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from .bus import Bus, Scope
from .errors import NotSupported
from .protocol.codec import Record, extend
from .protocol.frames import Durability
from .protocol.messages import Metadata
from .protocol.position import GENESIS, Position, chain
from .protocol.search import contains, searchable, terms_of, words_of

__all__ = ["GENESIS", "PAGE", "Appended", "Durability", "Head", "Key", "Lease", "LeaseRenewer"]
__all__ += ["Loaded", "Metadata", "Node", "Position", "Record", "Scope", "SessionInfo", "Settled"]
__all__ += ["Store", "chain", "contains", "extend", "searchable", "terms_of", "words_of"]

PAGE: Final = 500
"""Records of one read, unless the caller asks for another number."""


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The facts about a session besides its log. Times are seconds since the epoch."""

    id: str
    owner: str | None = None
    """The id of the identity that owns it; ``None``: everybody who knows its unguessable id."""
    agent: str
    created: float
    updated: float
    title: str | None = None
    metadata: Metadata | None = None
    retention: float | None = None
    """Seconds that it is kept after ``updated``; ``None``: as long as the gateway keeps any."""


class Settled(msgspec.Struct, frozen=True, gc=False):
    """The checkpoint of a log: nothing at or before ``seq`` is open; a cold start reads from it."""

    seq: int = 0
    carried: bytes = b""
    """The reader's state at ``seq``, up to a megabyte; opaque to a store."""


class Head(msgspec.Struct, frozen=True, gc=False):
    """The end of a log, and how far it is settled."""

    position: Position
    settled: Settled


class Loaded(msgspec.Struct, frozen=True, gc=False):
    """A session, and the end of its log at the same moment or later."""

    info: SessionInfo
    head: Head


class Appended(msgspec.Struct, frozen=True, gc=False):
    """The result of an append."""

    records: Sequence[Record]
    """The appended events with their seqs and tags; ``()`` for a duplicate."""
    position: Position
    """The position of the last of them; for a duplicate, the first append's."""
    duplicate: bool = False


class Key(msgspec.Struct, frozen=True, gc=False):
    """The idempotency key of an append: ``id`` is unique in the log, ``digest`` is of the body."""

    id: str
    digest: str


class Lease(msgspec.Struct, frozen=True, gc=False):
    """The right to run a session's agent, until it expires.

    ``fence`` is the fencing token, ``"<epoch>:<counter>"``. :meth:`Store.lease` issues it: the
    counter grows with every new holder, and the store refuses appends under an older one.
    """

    session: str
    owner: str
    fence: str
    ttl: float


class LeaseRenewer(ABC):
    """Renews leases on a thread of its own, over a connection of its own.

    An agent that blocks the event loop then does not cost its node the leases.
    """

    @abstractmethod
    def renew(self, owner: str, sessions: Sequence[str], *, ttl: float) -> Sequence[str]:
        """As :meth:`Store.renew`, but blocks the calling thread. Raises ``Unavailable``.

        Returns or raises within ``ttl / 2`` seconds. All calls come from one thread, in which no
        event loop runs.
        """

    def close(self) -> None:  # noqa: B027 - a renewer without a connection has nothing to do
        """Closes its connection. Closing twice does nothing."""


class Node(msgspec.Struct, frozen=True, gc=False):
    """The entry of a live node, as it last sent it by :meth:`Store.beat`."""

    id: str
    data: bytes
    """What the node says of itself, such as its counts; opaque to a store."""


class Store(ABC):
    """Keeps sessions and their logs.

    Every method may be called concurrently from one event loop. A call that failed may have taken
    effect. A retry is safe: every method but ``append`` is idempotent, and an append under a
    :class:`Key` happens once. (An append without a key would happen twice.)
    A cancelled call leaves the store consistent: all of an append, or nothing.
    When the technology fails, methods raise ``Unavailable`` (or ``StorageFull``), nothing else.
    Before :meth:`open` and after :meth:`close`, methods work as usual or raise ``Unavailable``.
    """

    scope: Scope
    """Which nodes may share this store: those of one process, one host, or many."""
    durability: Durability
    """What an append survives when it has returned."""
    immediate: bool = False
    """Whether no method ever waits (suspends): such a store may be called outside a task. Any other
    store may use what needs a task, such as ``asyncio.timeout``."""
    exclusive: bool = False
    """Whether only one gateway uses the store. If it is ``immediate``, too, no append by another
    node can come between a decision on a log and the append of that decision."""

    async def open(self) -> None:  # noqa: B027 - a backend without connections has nothing to do
        """Connects, creates the schema. Raises ``Unavailable`` with one clear line if it can't."""

    async def close(self) -> None:  # noqa: B027 - a backend without connections has nothing to do
        """Finishes the calls in progress and closes. Closing twice does nothing."""

    async def ping(self) -> None:  # noqa: B027 - a backend without connections has nothing to do
        """Returns when the store answers; raises ``Unavailable`` when it does not."""

    async def available_durability(self) -> Durability:
        """The durability that an append meets now; lower than ``durability`` when it can't be met.

        An append that can't meet ``durability`` raises ``Unavailable``. Raises it, too, when the
        store does not answer.
        """
        await self.ping()
        return self.durability

    def default_bus(self) -> Bus | None:
        """A new bus between the nodes that share this store, for a gateway that is given none.

        The gateway opens it after the store and closes it before. ``None``: this store has no bus
        of its own; the gateway then uses one within its process.
        """
        return None

    # Sessions

    @abstractmethod
    async def create(self, info: SessionInfo, *, epoch: str) -> tuple[SessionInfo, bool]:
        """Creates a session with an empty log, or finds the one with this id.

        Returns the session, and whether this call created it. Of concurrent calls exactly one
        creates it. Raises NotFound for an id that was deleted: it is never used again.
        """

    @abstractmethod
    async def info(self, session: str) -> SessionInfo:
        """Raises NotFound when there is no such session."""

    async def load(self, session: str) -> Loaded:
        """:meth:`info` and :meth:`head` together: what a node needs that opens the session.

        Every client that reconnects to another node causes one. A store that can should answer it
        in one step, and many that come at once together. Raises NotFound.
        """
        info = await self.info(session)
        return Loaded(info, await self.head(session))

    @abstractmethod
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
        """Changes what is given, and sets ``updated`` by the store's clock. Raises NotFound.

        With ``keep_title``, a session that has a title keeps it: of concurrent calls that name a
        session for the first time exactly one does. ``retention`` is in seconds; ``None`` removes
        the session's own.
        """

    @abstractmethod
    async def sessions(
        self, *, owner: str, before: tuple[float, str] | None = None, limit: int = 50
    ) -> Sequence[SessionInfo]:
        """The next ``limit`` sessions of ``owner``, by ``(updated, id)``, the greatest first.

        Only those below ``before``: the ``(updated, id)`` of the last session on the previous page,
        which may have changed or been deleted since. Ids compare by code point. Returns fewer only
        at the end of the list.
        """

    async def search(
        self,
        owner: str,
        query: str,
        *,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> Sequence[SessionInfo]:
        """The next ``limit`` sessions of ``owner`` that match ``query``, listed as by `sessions`.

        :mod:`agentws.protocol.search` says what matches: each term of the query is in the title, or
        in a message of the user or the assistant that was not cleared; the last word of a term may
        be incomplete. Any text is a valid query; one without a word matches nothing. A title, a
        deletion and a cleared history take effect at once, messages at the latest when the log is
        settled after them and :meth:`maintain` has returned False. Raises NotSupported.
        """
        raise NotSupported("This store can't search.", expected="a list without query")

    async def maintain(self) -> bool:
        """Does a bounded piece of the store's own work in the background, such as indexing.

        Returns whether there may be more. A node calls it regularly, and nothing waits for it.
        """
        return False

    @abstractmethod
    async def delete(self, session: str, *, updated: float | None = None) -> bool:
        """Deletes the session, its log and its keys; the id can't be used again.

        With ``updated``, only a session whose ``updated`` is still that, and that has no valid
        lease: both are checked in the same atomic step. Returns False if it was kept for that. Does
        nothing for an id that does not exist.
        """

    @abstractmethod
    async def stale(self, *, retention: float | None, limit: int = 100) -> Sequence[SessionInfo]:
        """Sessions that were not updated for longer than their retention, by the store's clock.

        ``retention``: that of sessions without their own, in seconds; ``None`` keeps those. Without
        sessions that have a valid lease. Ordered by ``(updated + retention, id)``, those first that
        have expired first.
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

        Atomic and totally ordered per session: readers see all of them, in order, or none.
        ``key``: the idempotency key, checked here (deduplication). A second append under the same
        id changes nothing and returns the first one's position with ``duplicate``; raises
        IdempotencyConflict when its digest differs.
        ``fence``: the fencing token, checked in the same atomic step; raises Fenced when it is not
        the one of the newest lease.
        ``settled``: moves the log's checkpoint to this one in the same step; one with a lower seq
        changes nothing; one with an equal seq replaces ``carried``.
        ``expect``: the expected version, the seq of the log's end that the caller has decided on.
        Checked in the same atomic step: raises VersionConflict when the end is another one. So of
        concurrent appends that expect the same end exactly one is made, on whichever node.
        ``commutes``: the events change nothing that any command is decided on, such as the text of
        an answer: an ``expect`` from before them is still valid after them. For this a store keeps
        one number per log: the seq of the last event that was appended without ``commutes``. It
        refuses an ``expect`` below that, or above the log's end.
        The order of the checks: the session, ``fence``, ``key``, ``expect``. A duplicate under
        ``key`` is returned whatever it expects.
        ``events`` may be empty, to use ``key`` or ``settled`` alone; the position is then the log's
        end. Raises NotFound.
        """

    @abstractmethod
    async def find(self, session: str, key: Key) -> Appended | None:
        """The duplicate that an append under ``key`` would return; ``None`` for a new key.

        Raises IdempotencyConflict when the key has another digest, NotFound without a session.
        """

    @abstractmethod
    async def head(self, session: str) -> Head:
        """The end of the log. Raises NotFound."""

    @abstractmethod
    async def heads(self, sessions: Sequence[str]) -> Sequence[int | None]:
        """The last seq of each log, ``None`` for no such session: one cheap query for many."""

    @abstractmethod
    async def read(
        self, session: str, *, after: Position | None = None, limit: int = PAGE
    ) -> Sequence[Record]:
        """The next ``limit`` events after that position (exclusive), or from the beginning.

        Returns fewer only at the end of the log, however large the events are: readers take a short
        page for the last one. Never returns an event whose predecessors are not readable. Raises
        PositionLost with ``epoch``, ``future``, ``compacted`` (no event with that seq any more) or
        ``diverged`` (it has another tag). Raises NotFound.
        """

    @abstractmethod
    async def read_back(self, session: str, *, before: int, limit: int = PAGE) -> Sequence[Record]:
        """The nearest ``limit`` events with a seq below ``before``, in log order.

        Returns fewer only at the beginning of the log. Raises NotFound.
        """

    @abstractmethod
    async def compact(
        self, session: str, *, first: int, last: int, records: Sequence[Record]
    ) -> None:
        """Replaces the events with seqs ``first`` to ``last`` by ``records``, atomically.

        ``records`` have seqs and tags of events in that range; the others are removed. The head,
        its tag, keys and later events stay. A repetition changes nothing. Raises NotFound.
        """

    # Leases

    @abstractmethod
    async def lease(self, session: str, *, owner: str, ttl: float) -> Lease | None:
        """Takes the session's lease for ``ttl`` seconds by the store's clock.

        ``None`` while another owner's has not expired. The holder gets its own again, renewed,
        with the same fencing token. A new holder is issued a greater one, and every append under
        an older one is refused from then on. Raises NotFound.
        """

    @abstractmethod
    async def renew(self, owner: str, sessions: Sequence[str], *, ttl: float) -> Sequence[str]:
        """Renews these leases of ``owner``; returns the sessions whose lease it still holds."""

    @abstractmethod
    async def release(self, lease: Lease) -> None:
        """Gives the lease up, if it is still held. Its fencing token is not issued again."""

    @abstractmethod
    async def unsettled(self, *, limit: int = 100) -> Sequence[str]:
        """Sessions whose log is longer than ``settled.seq`` and that have no valid lease.

        These may have an orphaned run. Ordered by ``(updated, id)``, the oldest first.
        """

    def lease_renewer(self) -> LeaseRenewer | None:
        """A new renewer for a node's thread. ``None``: the node renews on its event loop."""
        return None

    # Nodes

    async def beat(self, node: str, *, instance: str, data: bytes, ttl: float) -> bool:
        """A heartbeat: keeps the node's entry for ``ttl`` seconds by the store's clock.

        ``instance`` is random for each process. Returns False, and changes nothing, while an entry
        of another instance under the same id has not expired. Raises NotSupported: the node then
        counts only itself.
        """
        raise NotSupported("This store does not know its nodes.", expected="counts of one node")

    async def nodes(self) -> Sequence[Node]:
        """The nodes whose entry has not expired, ordered by id. Raises NotSupported."""
        raise NotSupported("This store does not know its nodes.", expected="counts of one node")

    async def leave(self, node: str, *, instance: str) -> None:  # noqa: B027 - see beat
        """Removes the node's entry if it is of this instance; does nothing otherwise."""
