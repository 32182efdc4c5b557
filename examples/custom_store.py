"""A custom store: sessions in a file of JSON lines, one line for each change.

It holds a ``MemoryStore``, writes every change of it to the file, and replays the changes when it
opens. This suits a tool on one machine whose conversations fit into memory.
``uvicorn custom_store:app``
"""

import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import UNSET, UnsetType
from starlette.applications import Starlette

from agentws import MemoryStore, RunContext, SessionInfo, mount_agent_gateway
from agentws.errors import Unavailable
from agentws.store import (
    PAGE,
    Appended,
    Head,
    Key,
    Lease,
    Metadata,
    Position,
    Record,
    Settled,
    Store,
)


class Change(msgspec.Struct, omit_defaults=True):
    """One line of the file."""

    at: float
    session: str
    created: SessionInfo | None = None
    epoch: str = ""
    events: list[str] = []
    key: Key | None = None
    settled: Settled | None = None
    updated: SessionInfo | None = None
    deleted: bool = False


class JournalStore(Store):
    scope = "process"
    durability = "disk"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._at: float | None = None
        """The time of a change while it is replayed."""
        self._held = MemoryStore(clock=self._now)

    def _now(self) -> float:
        return self._at or time.time()

    @property
    def _memory(self) -> MemoryStore:
        """The sessions as in the file. Raises Unavailable when memory and file may differ."""
        if self._file is None:
            raise Unavailable("The journal is closed.")
        return self._held

    async def open(self) -> None:
        # A new one each time: replaying into the old one would duplicate every event.
        self._held = MemoryStore(clock=self._now)
        try:
            file = self._path.open("ab+")
            file.seek(0)
            lines = file.readlines()
            if lines and not lines[-1].endswith(b"\n"):
                # The process died during this write, so the change was never acknowledged.
                file.truncate(sum(map(len, lines[:-1])))
                lines.pop()
        except OSError as error:
            raise Unavailable(f"{self._path} can't be opened.") from error
        for line in lines:
            await self._replay(msgspec.json.decode(line, type=Change))
        self._at = None
        self._file = file

    async def _replay(self, change: Change) -> None:
        self._at = change.at
        if change.created is not None:
            await self._held.create(change.created, epoch=change.epoch)
        elif change.deleted:
            await self._held.delete(change.session)
        elif change.updated is not None:
            now = change.updated
            await self._held.update(
                now.id,
                title=now.title,
                metadata=now.metadata,
                agent=now.agent,
                retention=now.retention,
            )
        else:
            events = [event.encode() for event in change.events]
            await self._held.append(change.session, events, key=change.key, settled=change.settled)

    def _write(self, change: Change) -> None:
        """Returns when the change is on disk. If the write fails, memory is ahead of the file, and
        every later call is refused until the store is opened again."""
        if self._file is None:
            raise Unavailable("The journal is closed.")
        try:
            self._file.write(msgspec.json.encode(change) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            file, self._file = self._file, None
            with suppress(OSError):
                file.close()
            raise Unavailable("The journal can't be written.") from error

    async def ping(self) -> None:
        _ = self._memory

    async def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    # A change is made in memory first, which may refuse it, and is then written. Nothing awaits in
    # between, so no other task sees a change that is not written.

    async def create(self, info: SessionInfo, *, epoch: str) -> tuple[SessionInfo, bool]:
        found, made = await self._memory.create(info, epoch=epoch)
        if made:
            self._write(Change(time.time(), info.id, created=info, epoch=epoch))
        return found, made

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
        done = await self._memory.append(
            session,
            events,
            key=key,
            fence=fence,
            settled=settled,
            expect=expect,
            commutes=commutes,
        )
        if not done.duplicate:
            texts = [event.decode() for event in events]
            self._write(Change(time.time(), session, events=texts, key=key, settled=settled))
        return done

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
        info = await self._memory.update(
            session,
            title=title,
            metadata=metadata,
            agent=agent,
            retention=retention,
            keep_title=keep_title,
        )
        self._write(Change(info.updated, session, updated=info))
        return info

    async def delete(self, session: str, *, updated: float | None = None) -> bool:
        deleted = await self._memory.delete(session, updated=updated)
        if deleted:
            self._write(Change(time.time(), session, deleted=True))
        return deleted

    # Reads, and what the file need not keep.

    async def info(self, session: str) -> SessionInfo:
        return await self._memory.info(session)

    async def sessions(
        self, *, owner: str, before: tuple[float, str] | None = None, limit: int = 50
    ) -> Sequence[SessionInfo]:
        return await self._memory.sessions(owner=owner, before=before, limit=limit)

    async def search(
        self,
        owner: str,
        query: str,
        *,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> Sequence[SessionInfo]:
        return await self._memory.search(owner, query, before=before, limit=limit)

    async def stale(self, *, retention: float | None, limit: int = 100) -> Sequence[SessionInfo]:
        return await self._memory.stale(retention=retention, limit=limit)

    async def find(self, session: str, key: Key) -> Appended | None:
        return await self._memory.find(session, key)

    async def head(self, session: str) -> Head:
        return await self._memory.head(session)

    async def heads(self, sessions: Sequence[str]) -> Sequence[int | None]:
        return await self._memory.heads(sessions)

    async def read(
        self, session: str, *, after: Position | None = None, limit: int = PAGE
    ) -> Sequence[Record]:
        return await self._memory.read(session, after=after, limit=limit)

    async def read_back(self, session: str, *, before: int, limit: int = PAGE) -> Sequence[Record]:
        return await self._memory.read_back(session, before=before, limit=limit)

    async def compact(
        self, session: str, *, first: int, last: int, records: Sequence[Record]
    ) -> None:
        await self._memory.compact(session, first=first, last=last, records=records)

    async def lease(self, session: str, *, owner: str, ttl: float) -> Lease | None:
        return await self._memory.lease(session, owner=owner, ttl=ttl)

    async def renew(self, owner: str, sessions: Sequence[str], *, ttl: float) -> Sequence[str]:
        return await self._memory.renew(owner, sessions, ttl=ttl)

    async def release(self, lease: Lease) -> None:
        await self._memory.release(lease)

    async def unsettled(self, *, limit: int = 100) -> Sequence[str]:
        return await self._memory.unsettled(limit=limit)


async def echo(ctx: RunContext) -> AsyncIterator[str]:
    yield ctx.text


app = Starlette()
store = JournalStore(Path(os.environ.get("CHAT_JOURNAL", "chat.jsonl")))
gateway = mount_agent_gateway(app, echo, store=store)
