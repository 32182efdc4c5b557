"""The file store port: where uploaded files, and those that agents make, are kept.

To add a file store, subclass :class:`FileStore`. The docstrings below say what it must keep, and
``agentws.testing.FileStoreContract`` checks it. A store knows nothing of limits, types and access:
:mod:`agentws.attachments` decides those before it calls a store.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import msgspec

from .bus import Scope
from .errors import QuotaExceeded

__all__ = ["FileInfo", "FileStore", "Measure", "NewFile", "Quota", "Scope", "Usage"]


class NewFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is about to be stored. ``created`` is in seconds since the epoch."""

    id: str
    """``file_`` and 128 random bits or more: ``A-Z a-z 0-9 _ -`` only, safe as a name on disk."""
    name: str
    """For people only, and any text: never part of a path or a key of the store."""
    type: str
    owner: str | None = None
    """The id of the identity that it belongs to; ``None``: to everybody in its session."""
    session: str | None = None
    """The session that it was uploaded for. A file without an owner always has one."""
    created: float

    @property
    def holder(self) -> str:
        """Whose quota it counts for: its owner's, or without one its session's."""
        return holder_of(self.owner, self.session)


class FileInfo(NewFile, frozen=True, kw_only=True):
    """A stored file. ``size`` is in bytes; ``sha256`` is in hex."""

    size: int
    sha256: str


class Usage(msgspec.Struct, frozen=True):
    """The files that a holder has."""

    count: int
    size: int


class Quota(msgspec.Struct, frozen=True):
    """The most files, and bytes together, that one holder may have."""

    count: int
    size: int

    def check(self, usage: Usage) -> None:
        """Raises QuotaExceeded if ``usage`` is above this quota."""
        if usage.count > self.count:
            raise QuotaExceeded("You have too many files.", expected=f"at most {self.count}")
        if usage.size > self.size:
            raise QuotaExceeded(
                "Your files are too large together.", expected=f"at most {self.size} bytes"
            )


class Measure:
    """The size and the hash of the chunks of one file, for a store while it writes them."""

    __slots__ = ("_hash", "size")

    def __init__(self) -> None:
        self.size = 0
        self._hash = hashlib.sha256()

    def add(self, chunk: bytes) -> None:
        """Counts and hashes the next chunk."""
        self.size += len(chunk)
        self._hash.update(chunk)

    def complete(self, new: NewFile) -> FileInfo:
        """What is stored of ``new``, with what was measured."""
        return FileInfo(
            **msgspec.structs.asdict(new), size=self.size, sha256=self._hash.hexdigest()
        )


class FileStore(ABC):
    """Keeps files, and which sessions they are attached to.

    Every method may be called concurrently from one event loop, and by several nodes if ``scope``
    says so. A cancelled or failed call leaves no part of a file that can be read. When the
    technology fails, methods raise ``Unavailable`` (or ``StorageFull``), nothing else. Before
    :meth:`open` and after :meth:`close`, methods work as usual or raise ``Unavailable``.
    """

    scope: Scope
    """Which nodes may share this store: those of one process, one host, or many."""

    async def open(self) -> None:  # noqa: B027 - a store without connections has nothing to do
        """Connects, creates folders. Raises ``Unavailable`` with one clear line if it can't."""

    async def close(self) -> None:  # noqa: B027 - a store without connections has nothing to do
        """Closes. Closing twice does nothing."""

    @abstractmethod
    async def create(
        self, new: NewFile, chunks: AsyncIterator[bytes], *, quota: Quota | None = None
    ) -> FileInfo:
        """Stores what ``chunks`` yields, all or nothing, in memory that does not grow with it.

        Raises what ``chunks`` raises, and QuotaExceeded if its holder would have more than
        ``quota`` with it; the file then does not exist, and what was written of it is removed.
        However many calls are concurrent, no holder ever has more than its quota. If its session
        was deleted meanwhile, it may raise NotFound; else the file is one that a sweep deletes.
        """

    @abstractmethod
    async def info(self, id: str) -> FileInfo:
        """Raises NotFound."""

    @abstractmethod
    def read(
        self, id: str, *, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes from ``start`` up to ``stop`` (exclusive), in chunks of at most a megabyte.

        An async generator: close it. The first chunk raises NotFound for a file that does not
        exist. A file that is deleted while it is read may end with NotFound.
        """

    @abstractmethod
    async def delete(self, id: str) -> None:
        """Deletes the file, attached or not. Does nothing for one that does not exist."""

    @abstractmethod
    async def attach(self, ids: Sequence[str], session: str) -> None:
        """Attaches these files to the session. Attaching twice does nothing.

        Raises NotFound if one does not exist. One that exists when this returns is kept until it is
        deleted, or all its sessions are.
        """

    @abstractmethod
    async def sessions(self, id: str) -> Sequence[str]:
        """The sessions that the file is attached to; none for a file that does not exist."""

    @abstractmethod
    async def delete_session(self, session: str) -> None:
        """Deletes the files that were uploaded for the session, or are attached to it.

        Those that are attached to another session, too, stay there. A repetition does nothing.
        """

    @abstractmethod
    async def usage(self, holder: str) -> Usage:
        """The files of that :attr:`NewFile.holder`."""

    @abstractmethod
    async def sweep(self, *, created_before: float, limit: int = 100) -> int:
        """Deletes files created before that time that are attached to no session.

        And what is left of uploads that began before and whose node has died. At most ``limit`` in
        one call; returns how many. Several nodes may sweep at the same time.
        """


def holder_of(owner: str | None, session: str | None) -> str:
    """Whose quota the files of an owner or of a session count for."""
    return f"session:{session}" if owner is None else f"identity:{owner}"
