"""The store in PostgreSQL: durable, for the nodes of a cluster, with nothing lost on a failover to
a synchronous standby."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Concatenate, Final, ParamSpec, TypeVar

from msgspec import UNSET, UnsetType

from ...bus import Scope
from ...errors import Misconfigured, Unavailable
from ...protocol.codec import Record
from ...protocol.frames import Durability
from ...protocol.messages import Metadata
from ...protocol.position import Position
from ...protocol.search import terms_of
from ...settings import Count, Timeout, check_setting
from ...store import (
    PAGE,
    Appended,
    Head,
    Key,
    Lease,
    LeaseRenewer,
    Loaded,
    Node,
    SessionInfo,
    Settled,
    Store,
)
from . import log, nodes, search, sessions
from .appends import Append, Appends
from .bus import PostgresBus
from .durability import met_durability
from .gathering import Gathering
from .pool import Connection, Database, quoted_schema
from .schema import prepare

__all__ = ["PostgresBus", "PostgresStore"]

logger: Final = logging.getLogger("agentws")

MIGRATING: Final = 60.0
"""Seconds to wait for the schema, which another node may be migrating."""

P = ParamSpec("P")
Result = TypeVar("Result")
_RANK: Final[dict[Durability, int]] = {"process": 0, "disk": 1, "replicated": 2}


class PostgresStore(Store):
    """Keeps sessions in the PostgreSQL database at ``url``, in tables of its own in ``schema``.

    ``url`` is ``postgresql://user:password@host:port/database``, with the parameters of libpq; what
    it does not say, the environment variables of libpq do (``PGHOST``, ``PGPASSWORD``, ...). Raises
    ValueError for one that can't be read. A number out of bounds raises ValueError, a value of
    another type TypeError. :meth:`open` creates the schema, or migrates it; several
    applications share a database under different schemas. Runs on PostgreSQL 14 and newer, and
    behind a pooler, also one that pools by transaction.

    ``durability`` is the least that appends must meet: :meth:`open` raises Misconfigured if the
    server is not set up for it. Without it, the server decides: appends are ``replicated`` if
    it has synchronous standbys, ``disk`` if not, and ``process`` with a warning if it does not wait
    for its disk (``synchronous_commit = off`` or ``fsync = off``).
    ``pool_size``: connections at most, besides one of the bus and one that renews leases.
    ``timeout``: seconds after which a call raises Unavailable, whatever the server does.
    """

    scope: Scope = "cluster"
    durability: Durability = "disk"

    def __init__(
        self,
        url: str,
        *,
        schema: str = "agentws",
        durability: Durability | None = None,
        pool_size: int = 8,
        timeout: float = 5.0,
    ) -> None:
        if durability is not None:
            check_setting("durability", durability, Durability)
        check_setting("pool_size", pool_size, Count)
        check_setting("timeout", timeout, Timeout)
        self._schema = quoted_schema(schema)
        self._database = Database(url, size=pool_size, timeout=timeout)
        self._appends = Appends(self._database, self._schema)
        self._loads, self._reads = self._gatherings()
        self._url = url
        self._required = durability
        if durability is not None:
            self.durability = durability

    def __repr__(self) -> str:
        return f"<PostgresStore {self._database.place!r} schema={self._schema}>"

    async def open(self) -> None:
        if self._database.is_open:
            return
        await self._database.open()
        # New ones, as each belongs to the event loop that it was used on first.
        self._appends = Appends(self._database, self._schema)
        self._loads, self._reads = self._gatherings()
        try:
            await self._database.call(self._prepare, within=MIGRATING)
            self.durability = self._accepted(await self._call(met_durability))
        except BaseException:
            await self._database.close()
            raise

    def _gatherings(self) -> tuple[Gathering[str, Loaded], Gathering[log.Read, list[Record]]]:
        """Of the calls that a node makes in the same moment for each client that reconnects."""
        loads = Gathering(self._database, partial(sessions.load_all, schema=self._schema))
        weigh = attrgetter("limit")
        reads = Gathering(self._database, partial(log.read_all, schema=self._schema), weigh=weigh)
        return loads, reads

    def _check_open(self) -> None:
        if not self._database.is_open:
            raise Unavailable("The store is not open.")

    async def _prepare(self, connection: Connection, uncertain: bool) -> None:
        await prepare(connection, self._schema)

    def _accepted(self, met: Durability) -> Durability:
        """What appends will meet; raises Misconfigured if that is less than required."""
        if self._required is not None and _RANK[met] < _RANK[self._required]:
            raise Misconfigured(
                f"The server is configured for durability {met}, but {self._required} is required."
            )
        if met == "process":
            logger.warning(
                "PostgreSQL does not wait for its disk (synchronous_commit or fsync is off): a "
                "crash of the server may lose the newest appends; durability is only 'process'"
            )
        return self._required or met

    async def close(self) -> None:
        await self._appends.close()
        await self._loads.close()
        await self._reads.close()
        await self._database.close()

    async def ping(self) -> None:
        await self._call(_ping)

    async def available_durability(self) -> Durability:
        met = await self._call(met_durability)
        return min(met, self.durability, key=_RANK.__getitem__)

    def default_bus(self) -> PostgresBus:
        """Reaches all nodes that use this database and schema, by ``NOTIFY``."""
        return PostgresBus(self._url, schema=self._schema.strip('"'))

    def lease_renewer(self) -> LeaseRenewer:
        return nodes.PostgresLeaseRenewer(self._database.conninfo, self._schema)

    async def _call(
        self,
        do: Callable[Concatenate[Connection, str, P], Awaitable[Result]],
        *args: P.args,
        **given: P.kwargs,
    ) -> Result:
        """Calls a function of the other modules with a connection and the schema."""

        async def work(connection: Connection, uncertain: bool) -> Result:
            return await do(connection, self._schema, *args, **given)

        return await self._database.call(work)

    # Sessions

    async def create(self, info: SessionInfo, *, epoch: str) -> tuple[SessionInfo, bool]:
        found, made = await self._call(sessions.create, info, epoch)
        if made:
            self._appends.ends.put(info.id, Position(epoch, 0, ""))
        return found, made

    async def info(self, session: str) -> SessionInfo:
        return await self._call(sessions.info, session)

    async def load(self, session: str) -> Loaded:
        self._check_open()
        loaded = await self._loads.submit(session)
        self._appends.ends.put(session, loaded.head.position)
        return loaded

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
        change = sessions.Change(title, metadata, agent, retention, keep_title)
        return await self._call(sessions.update, session, change)

    async def sessions(
        self, *, owner: str, before: tuple[float, str] | None = None, limit: int = 50
    ) -> Sequence[SessionInfo]:
        return await self._call(sessions.sessions, owner, before, limit)

    async def search(
        self,
        owner: str,
        query: str,
        *,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> Sequence[SessionInfo]:
        terms = terms_of(query)
        if not terms:
            return []
        also = search.MATCH.replace("{schema}", self._schema) * len(terms)
        given = [value for term in terms for value in search.match(term)]
        return await self._call(sessions.sessions, owner, before, limit, also=also, given=given)

    async def maintain(self) -> bool:
        batches = await self._call(search.due)
        if batches:
            await self._call(search.index, batches)
        return bool(batches)

    async def delete(self, session: str, *, updated: float | None = None) -> bool:
        return await self._call(sessions.delete, session, updated)

    async def stale(self, *, retention: float | None, limit: int = 100) -> Sequence[SessionInfo]:
        return await self._call(sessions.stale, retention, limit)

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
        self._check_open()
        append = Append(session, events, key, fence, settled, expect, commutes)
        return await self._appends.submit(append)

    async def find(self, session: str, key: Key) -> Appended | None:
        return await self._call(log.find, session, key)

    async def head(self, session: str) -> Head:
        head = await self._call(log.head, session)
        self._appends.ends.put(session, head.position)
        return head

    async def heads(self, sessions: Sequence[str]) -> Sequence[int | None]:
        return await self._call(log.heads, sessions)

    async def read(
        self, session: str, *, after: Position | None = None, limit: int = PAGE
    ) -> Sequence[Record]:
        self._check_open()
        return await self._reads.submit(log.Read(session, after, limit))

    async def read_back(self, session: str, *, before: int, limit: int = PAGE) -> Sequence[Record]:
        return await self._call(log.read_back, session, before, limit)

    async def compact(
        self, session: str, *, first: int, last: int, records: Sequence[Record]
    ) -> None:
        await self._call(log.compact, session, first, last, records)

    # Leases and nodes

    async def lease(self, session: str, *, owner: str, ttl: float) -> Lease | None:
        return await self._call(nodes.lease, session, owner, ttl)

    async def renew(self, owner: str, sessions: Sequence[str], *, ttl: float) -> Sequence[str]:
        return await self._call(nodes.renew, owner, sessions, ttl)

    async def release(self, lease: Lease) -> None:
        await self._call(nodes.release, lease)

    async def unsettled(self, *, limit: int = 100) -> Sequence[str]:
        return await self._call(nodes.unsettled, limit)

    async def beat(self, node: str, *, instance: str, data: bytes, ttl: float) -> bool:
        return await self._call(nodes.beat, node, instance, data, ttl)

    async def nodes(self) -> Sequence[Node]:
        return await self._call(nodes.nodes)

    async def leave(self, node: str, *, instance: str) -> None:
        await self._call(nodes.leave, node, instance)


async def _ping(connection: Connection, schema: str) -> None:
    # A role without access to the schema, or one without the schema, does not work either.
    await log.rows_of(connection, f"SELECT FROM {schema}.session LIMIT 0")
