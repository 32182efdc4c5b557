"""The store and the bus on a Redis or Valkey server, for nodes on several hosts.

A session's log, keys, lease and indexes change in one script on the server, so every node sees all
of a change or nothing. See :mod:`agentws.backends.redis.scripts` for the keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from msgspec import UNSET, UnsetType

try:
    import redis as _redis  # noqa: F401
except ImportError as error:
    raise ImportError('sessions in Redis need redis-py: pip install "agentws[redis]"') from error

from ...bus import Scope
from ...errors import Fenced, IdempotencyConflict, NotFound, VersionConflict
from ...protocol.codec import Record, extend
from ...protocol.frames import Durability
from ...protocol.messages import Metadata
from ...protocol.position import Position
from ...settings import Count, Timeout, check_setting
from ...store import PAGE, Appended, Head, Key, Lease, Loaded, Node, SessionInfo, Settled, Store
from . import lease_scripts, scripts
from . import records as records_
from .bus import RedisBus
from .leases import CHUNK, RedisLeaseRenewer, milliseconds
from .node import Promise
from .script import Script
from .servers import Servers

__all__ = ["RedisBus", "RedisStore"]

_REFUSED: Final = {
    b"N": NotFound,
    b"F": Fenced,
    b"I": IdempotencyConflict,
    b"C": VersionConflict,
}


class RedisStore(Store):
    """Keeps sessions on the Redis (6.2 or newer) or Valkey server at ``url``.

    ``url``: ``redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]``, ``rediss://`` for TLS, or
    ``unix://PATH``. Any server of a cluster leads to all of them.
    ``namespace``: the first word of all keys, so that several applications can share a server.

    ``durability`` is what an append survives when it has returned; one that can't meet it raises
    Unavailable, and is a duplicate when it is made again under its key:

    - ``process``: the death of the node. The server may lose the newest appends when it dies, as
      its own persistence and replication are set.
    - ``disk``: the death of the server, too. It needs ``appendonly yes``, and ``appendfsync
      always`` or a server that has ``WAITAOF`` (Redis 7.2).
    - ``replicated``: the loss of the server, too: ``replicas`` of them have the append (``WAIT``).

    ``timeout``: seconds for a call; then it raises Unavailable and may still take effect.
    ``confirmation``: seconds that an append waits for its durability.

    :meth:`open` refuses a server that may evict logs, is too old, or can't meet ``durability``.
    Raises ValueError for an address that is none, or that has an option which can't be used, and
    for a number out of bounds; TypeError for values of another type.
    """

    scope: Scope = "cluster"
    durability: Durability = "process"

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "agentws",
        durability: Durability = "process",
        replicas: int = 1,
        timeout: float = 5.0,
        confirmation: float = 1.0,
    ) -> None:
        check_setting("durability", durability, Durability)
        check_setting("replicas", replicas, Count)
        check_setting("timeout", timeout, Timeout)
        check_setting("confirmation", confirmation, Timeout)
        self.durability = durability
        self._bus: RedisBus | None = None
        promise = Promise(durability, replicas, confirmation)
        self._servers = Servers(url, namespace=namespace, timeout=timeout, promise=promise)

    def __repr__(self) -> str:
        return f"<RedisStore {self._servers}>"

    async def open(self) -> None:
        await self._servers.open()

    async def close(self) -> None:
        await self._servers.close()

    async def ping(self) -> None:
        await self._servers.ping()

    async def available_durability(self) -> Durability:
        return await self._servers.available_durability()

    def default_bus(self) -> RedisBus:
        """Reaches all nodes that use this server, database and namespace.

        The store rings on it in the same step as it appends, unless an append has to be confirmed
        first: other nodes then learn of it once it is.
        """
        servers = self._servers
        bus = RedisBus(servers.url, namespace=servers.namespace, timeout=servers.timeout)
        if self.durability == "process":
            self._bus = bus
        return bus

    async def _write(self, script: Script, session: str, *arguments: Any, **options: bool) -> Any:
        servers = self._servers
        prefix = servers.prefix_of(session)
        return await servers.script(script, prefix, session, *arguments, write=True, **options)

    async def _merged(self, script: Script, *arguments: Any) -> list[Any]:
        """What the script finds in all shards."""
        servers, rows = self._servers, list[Any]()
        asked = [servers.script(script, prefix, *arguments) for prefix in servers.prefixes]
        for found in await asyncio.gather(*asked):
            rows += found
        return rows

    def _key(self, kind: str, session: str) -> str:
        return f"{self._servers.prefix_of(session)}{kind}:{session}"

    async def _ask(self, session: str, *commands: tuple[str | int, ...]) -> list[Any]:
        return await self._servers.call(self._servers.prefix_of(session), *commands)

    # Sessions

    async def create(self, info: SessionInfo, *, epoch: str) -> tuple[SessionInfo, bool]:
        fields = records_.info_fields(info)
        reply = await self._write(scripts.CREATE, info.id, epoch, *fields)
        if reply == b"C":
            return info, True
        if reply == b"N":
            raise NotFound("This session was deleted.")
        return records_.info_of(info.id, reply), False

    async def info(self, session: str) -> SessionInfo:
        command = ("HMGET", self._key("h", session), *records_.INFO)
        [fields] = await self._ask(session, command)
        return records_.info_of(session, fields)

    async def load(self, session: str) -> Loaded:
        command = ("HMGET", self._key("h", session), *records_.INFO, *records_.HEAD)
        [fields] = await self._ask(session, command)
        info = records_.info_of(session, fields[: len(records_.INFO)])
        return Loaded(info, records_.head_of(fields[len(records_.INFO) :]))

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
        fields = records_.given_fields(
            {"ti": title, "md": records_.metadata_field(metadata), "a": agent}
        )
        kept = "same" if retention is UNSET else "none" if retention is None else repr(retention)
        reply = await self._write(scripts.UPDATE, session, int(keep_title), kept, *fields)
        if reply == b"N":
            raise records_.missing()
        return records_.info_of(session, reply)

    async def sessions(
        self, *, owner: str, before: tuple[float, str] | None = None, limit: int = 50
    ) -> Sequence[SessionInfo]:
        # Any id is above the empty one: without `before` nothing is left out.
        updated, id = ("+inf", "") if before is None else (repr(before[0]), before[1])
        infos = records_.infos_of(await self._merged(scripts.SESSIONS, owner, limit, updated, id))
        return sorted(infos, key=_age, reverse=True)[:limit]

    async def delete(self, session: str, *, updated: float | None = None) -> bool:
        wanted = "" if updated is None else repr(updated)
        return bool(await self._write(scripts.DELETE, session, wanted))

    async def stale(self, *, retention: float | None, limit: int = 100) -> Sequence[SessionInfo]:
        kept = "" if retention is None else repr(retention)
        infos = records_.infos_of(await self._merged(scripts.STALE, kept, limit))
        return sorted(infos, key=lambda info: _expiry(info, retention))[:limit]

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
        flags = "c" if commutes else ""
        given: list[str | bytes] = ["", "", "", "", "", ""]
        if fence is not None:
            flags += "f"
            given[0] = fence
        if key is not None:
            flags += "k"
            given[1:3] = key.id, key.digest
        if settled is not None:
            flags += "s"
            given[3:5] = str(settled.seq), settled.carried
        if expect is not None:
            flags += "x"
            given[5] = str(expect)
        bell = None if self._bus is None else self._bus.bell(session)
        arguments = (flags, *given, *(bell or ("", "", "")), *events)
        # The text of an answer may wait a moment for that of others.
        options = {"again": key is not None, "patient": commutes}
        reply = await self._write(scripts.APPEND, session, *arguments, **options)
        done = _appended(reply, events)
        if bell is not None and self._bus is not None and done.records:
            self._bus.rung(session, done.position.seq)
        return done

    async def find(self, session: str, key: Key) -> Appended | None:
        end, known = await self._ask(
            session,
            ("HMGET", self._key("h", session), *records_.ENDS),
            ("HGET", self._key("k", session), key.id),
        )
        epoch = records_.end_of(end).epoch
        if known is None:
            return None
        seq, tag, digest = known.split(b" ", 2)
        if digest.decode() != key.digest:
            raise IdempotencyConflict()
        return Appended((), Position(epoch, int(seq), tag.decode()), duplicate=True)

    async def head(self, session: str) -> Head:
        command = ("HMGET", self._key("h", session), *records_.HEAD)
        [fields] = await self._ask(session, command)
        return records_.head_of(fields)

    async def heads(self, sessions: Sequence[str]) -> Sequence[int | None]:
        seqs: dict[str, int] = {}
        for wanted, found in await self._chunked(scripts.HEADS, sessions):
            pairs = zip(wanted, found, strict=True)
            seqs.update((session, int(seq)) for session, seq in pairs if seq is not None)
        return [seqs.get(session) for session in sessions]

    async def read(
        self, session: str, *, after: Position | None = None, limit: int = PAGE
    ) -> Sequence[Record]:
        start = 0 if after is None else after.seq
        # With the event at the position itself: it must have that tag.
        count = limit + 1 if start else limit
        log = ("ZRANGEBYSCORE", self._key("l", session), start, "+inf", "LIMIT", 0, count)
        end, found = await self._with_end(session, log)
        if after is not None:
            records_.refuse_outside(end, after)
        records = [records_.record_of(member) for member in found]
        return records if after is None or not start else records_.rest_after(after, records)

    async def read_back(self, session: str, *, before: int, limit: int = PAGE) -> Sequence[Record]:
        highest = f"({before}"
        log = ("ZREVRANGEBYSCORE", self._key("l", session), highest, "-inf", "LIMIT", 0, limit)
        _, found = await self._with_end(session, log)
        return [records_.record_of(member) for member in reversed(found)]

    async def _with_end(
        self, session: str, command: tuple[str | int, ...]
    ) -> tuple[Position, list[bytes]]:
        """The end of the log, and the reply to ``command``, which is executed after it."""
        end = ("HMGET", self._key("h", session), *records_.ENDS)
        fields, found = await self._ask(session, end, command)
        return records_.end_of(fields), found

    async def compact(
        self, session: str, *, first: int, last: int, records: Sequence[Record]
    ) -> None:
        entries = [part for one in records for part in (one.seq, records_.member(one))]
        if not await self._write(scripts.COMPACT, session, first, last, *entries):
            raise records_.missing()

    # Leases

    async def lease(self, session: str, *, owner: str, ttl: float) -> Lease | None:
        reply = await self._write(lease_scripts.LEASE, session, owner, milliseconds(ttl))
        if reply == b"N":
            raise records_.missing()
        return None if reply == b"H" else Lease(session, owner, reply[1:].decode(), ttl)

    async def renew(self, owner: str, sessions: Sequence[str], *, ttl: float) -> Sequence[str]:
        chunks = await self._chunked(lease_scripts.RENEW, sessions, owner, milliseconds(ttl))
        return [session.decode() for _, held in chunks for session in held]

    async def release(self, lease: Lease) -> None:
        await self._write(lease_scripts.RELEASE, lease.session, lease.owner, lease.fence)

    async def unsettled(self, *, limit: int = 100) -> Sequence[str]:
        found = await self._merged(lease_scripts.UNSETTLED, limit)
        oldest = sorted(
            (float(updated), id.decode())
            for id, updated in zip(found[::2], found[1::2], strict=True)
        )
        return [id for _, id in oldest[:limit]]

    def lease_renewer(self) -> RedisLeaseRenewer:
        return RedisLeaseRenewer(self._servers)

    async def _chunked(
        self, script: Script, sessions: Sequence[str], *arguments: str | int
    ) -> list[tuple[Sequence[str], list[Any]]]:
        """The replies for many sessions, by those that each reply is for."""
        servers = self._servers
        chunks = servers.chunks(sessions, CHUNK)
        asked = [servers.script(script, prefix, *arguments, *ids) for prefix, ids in chunks]
        found = await asyncio.gather(*asked)
        return [(ids, reply) for (_, ids), reply in zip(chunks, found, strict=True)]

    # Nodes

    async def beat(self, node: str, *, instance: str, data: bytes, ttl: float) -> bool:
        arguments = (node, instance, milliseconds(ttl), data)
        return bool(await self._of_nodes(lease_scripts.BEAT, *arguments))

    async def nodes(self) -> Sequence[Node]:
        found = await self._of_nodes(lease_scripts.NODES)
        nodes = [Node(id.decode(), data) for id, data in zip(found[::2], found[1::2], strict=True)]
        return sorted(nodes, key=lambda node: node.id)

    async def leave(self, node: str, *, instance: str) -> None:
        await self._of_nodes(lease_scripts.LEAVE, node, instance)

    async def _of_nodes(self, script: Script, *arguments: str | bytes | int) -> Any:
        return await self._servers.script(script, self._servers.prefixes[0], *arguments)


def _appended(reply: bytes, events: Sequence[bytes]) -> Appended:
    """The result of an append; raises why it was refused."""
    refusal = _REFUSED.get(reply)
    if refusal is not None:
        raise refusal()
    if reply.startswith(b"D "):
        return Appended((), records_.position_of(reply[2:]), duplicate=True)
    before = records_.position_of(reply)
    # The server has computed the same tags.
    records = extend(before, events)
    if not records:
        return Appended((), before)
    return Appended(records, Position(before.epoch, records[-1].seq, records[-1].tag))


def _age(info: SessionInfo) -> tuple[float, str]:
    return info.updated, info.id


def _expiry(info: SessionInfo, default: float | None) -> tuple[float, str]:
    kept = info.retention if info.retention is not None else default
    return info.updated + (kept or 0.0), info.id
