"""A store of one's own: sessions in a file of JSON lines, one line for every change.

It is a ``MemoryStore`` that writes down what is done to it and does it again when it opens: enough
for a tool on one machine whose conversations fit in memory. ``uvicorn custom_store:app``
"""

import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
from starlette.applications import Starlette

from agentws import MemoryStore, RunContext, SessionInfo, mount_agent_gateway
from agentws.errors import Unavailable
from agentws.protocol.messages import Metadata
from agentws.store import Appended, Key, Settled


class Change(msgspec.Struct, omit_defaults=True):
    """One line of the file."""

    at: float
    session: str
    created: SessionInfo | None = None
    epoch: str = ""
    events: list[str] = []
    key: Key | None = None
    settled: Settled | None = None
    title: str | None = None
    metadata: Metadata | None = None
    deleted: bool = False


class JournalStore(MemoryStore):
    durability = "disk"
    immediate = False

    def __init__(self, path: Path) -> None:
        super().__init__(clock=lambda: self._at or time.time())
        self._path = path
        self._file: BinaryIO | None = None
        self._at: float | None = None
        """While old changes are done again: when they were done first."""

    async def open(self) -> None:
        try:
            self._file = self._path.open("ab+")
            self._file.seek(0)
            lines = self._file.readlines()
        except OSError as error:
            raise Unavailable(f"{self._path} can't be opened.") from error
        if lines and not lines[-1].endswith(b"\n"):
            # The process died while it wrote: nobody was told that this change was made.
            self._file.truncate(sum(map(len, lines[:-1])))
            lines.pop()
        for line in lines:
            await self._redo(msgspec.json.decode(line, type=Change))
        self._at = None

    async def _redo(self, change: Change) -> None:
        self._at = change.at
        if change.created is not None:
            await super().create(change.created, epoch=change.epoch)
        elif change.deleted:
            await super().delete(change.session)
        elif change.title is not None or change.metadata is not None:
            await super().update(change.session, title=change.title, metadata=change.metadata)
        else:
            events = [event.encode() for event in change.events]
            await super().append(change.session, events, key=change.key, settled=change.settled)

    def _write(self, change: Change) -> None:
        """Returns when the disk has it. Once that has failed, no change is taken any more."""
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
        if self._file is None:
            raise Unavailable("The journal is closed.")

    async def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    # What changes a session is done in memory first, where it may be refused, and then written;
    # nothing awaits in between, so nobody sees the one without the other.

    async def create(self, info: SessionInfo, *, epoch: str) -> tuple[SessionInfo, bool]:
        found, made = await super().create(info, epoch=epoch)
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
    ) -> Appended:
        done = await super().append(session, events, key=key, fence=fence, settled=settled)
        if not done.duplicate:
            texts = [event.decode() for event in events]
            self._write(Change(time.time(), session, events=texts, key=key, settled=settled))
        return done

    async def update(
        self, session: str, *, title: str | None = None, metadata: Metadata | None = None
    ) -> SessionInfo:
        info = await super().update(session, title=title, metadata=metadata)
        self._write(Change(info.updated, session, title=title, metadata=metadata))
        return info

    async def delete(self, session: str) -> None:
        await super().delete(session)
        self._write(Change(time.time(), session, deleted=True))


async def echo(ctx: RunContext) -> AsyncIterator[str]:
    yield ctx.text


app = Starlette()
store = JournalStore(Path(os.environ.get("CHAT_JOURNAL", "chat.jsonl")))
gateway = mount_agent_gateway(app, echo, store=store)
