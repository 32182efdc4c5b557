"""The files of one gateway: what may be stored, by whom, and what may be attached to a message."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Final

from ..errors import BadRequest, NotFound, UnsupportedMedia
from ..files import FileInfo, FileStore, NewFile, Quota, Usage, holder_of
from ..limits import Limits
from ..protocol.attachments import AttachedFile
from ..protocol.frames import MAX_ID
from .intake import Intake, check_size
from .names import clean_name
from .types import accepts, check_patterns, plain_type, type_of

SWEEP_MARGIN: Final = 3600.0
"""Seconds after a file's expiry before it is deleted.

A file that was not attached before it expired can't be attached any more. So a sweep needs no lock
against a message: no message that is being sent can name a file that a sweep deletes.
"""

SWEPT: Final = 100
"""Files that one sweep deletes at most. If it was as many, the next one follows at once."""


class Files:
    """Applies the limits to a file store. ``clock`` is in seconds since the epoch.

    Raises TypeError for a store that is none, and TypeError or ValueError for wrong ``file_types``.
    """

    def __init__(self, store: FileStore, limits: Limits, *, clock: Callable[[], float]) -> None:
        if not isinstance(store, FileStore):
            raise TypeError(f"files is {store!r}; expected a FileStore, as DiskFileStore('files')")
        check_patterns(limits.file_types)
        self.store: Final = store
        self.limits: Final = limits
        self._clock = clock
        self._quota = Quota(limits.max_files, limits.file_quota)

    def __repr__(self) -> str:
        return f"<Files in {self.store!r}>"

    # Adding

    async def upload(
        self,
        chunks: AsyncIterator[bytes],
        *,
        name: str | None,
        declared: str | None,
        owner: str | None,
        session: str | None,
        length: int | None = None,
    ) -> FileInfo:
        """Stores what a client sends; ``length`` is the size it has declared.

        Its type is recognized by its content. Raises TooLarge, QuotaExceeded and UnsupportedMedia,
        as soon as it is known, and what ``chunks`` raises. Nothing is left of it then.
        """
        await self._check_room(length or 0, holder_of(owner, session))
        intake = Intake(chunks, limit=self.limits.max_file_size)
        cleaned = clean_name(name)
        kind = type_of(await intake.head(), name=cleaned, declared=declared)
        if not accepts(self.limits.file_types, kind):
            raise UnsupportedMedia(
                f"This is a file of the type {kind}, which is not accepted.",
                expected=" or ".join(self.limits.file_types),
            )
        return await self._create(intake, cleaned, kind, owner=owner, session=session)

    async def write(
        self,
        chunks: AsyncIterator[bytes],
        *,
        name: str,
        type: str | None,
        owner: str | None,
        session: str,
    ) -> FileInfo:
        """Stores what an agent makes, attached to its session; of any type.

        Raises TooLarge, QuotaExceeded, BadRequest for a type that is none, and what ``chunks``
        raises.
        """
        await self._check_room(0, holder_of(owner, session))
        intake = Intake(chunks, limit=self.limits.max_file_size)
        cleaned = clean_name(name)
        kind = type_of(await intake.head(), name=cleaned) if type is None else plain_type(type)
        if kind is None:
            raise BadRequest("The type of this file is not valid.", expected="as application/pdf")
        info = await self._create(intake, cleaned, kind, owner=owner, session=session)
        await self.store.attach([info.id], session)
        return info

    async def _check_room(self, size: int, holder: str) -> None:
        """Raises TooLarge or QuotaExceeded before the first byte; the store checks again."""
        check_size(size, self.limits.max_file_size)
        usage = await self.store.usage(holder)
        self._quota.check(Usage(usage.count + 1, usage.size + size))

    async def _create(
        self, intake: Intake, name: str, kind: str, *, owner: str | None, session: str | None
    ) -> FileInfo:
        new = NewFile(
            id=new_file_id(),
            name=name,
            type=kind,
            owner=owner,
            session=session,
            created=self._clock(),
        )
        async with aclosing(intake.all()) as chunks:
            return await self.store.create(new, chunks, quota=self._quota)

    # Attaching

    async def attach(
        self, ids: Sequence[str], *, session: str, by: str | None
    ) -> list[AttachedFile]:
        """Attaches files to a session, for a message of the identity ``by``.

        Raises BadRequest for too many, and NotFound for one that does not exist, has expired, or is
        not the sender's. Nothing is attached then.
        """
        most = self.limits.max_files_per_message
        if len(ids) > most:
            raise BadRequest(
                f"This message has {len(ids)} attachments.", expected=f"at most {most}"
            )
        found = [await self._attachable(id, session=session, by=by) for id in ids]
        await self.store.attach(ids, session)
        return [attached(info) for info in found]

    async def _attachable(self, id: str, *, session: str, by: str | None) -> FileInfo:
        info = await self.info(id)
        theirs = info.session == session if info.owner is None else info.owner == by
        if not (theirs and info.session in (None, session)):
            raise _no_file(id)
        if info.created < self._clock() - self.limits.file_expiry:
            if not await self.store.sessions(id):
                raise _no_file(id)
        return info

    # Reading

    async def info(self, id: str) -> FileInfo:
        """The file of any owner; raises NotFound, also for a text that can be no id."""
        if not is_file_id(id):
            raise _no_file(id)
        return await self.store.info(id)

    async def in_session(self, id: str, session: str) -> FileInfo:
        """A file that belongs to the session or is attached to it; raises NotFound."""
        info = await self.info(id)
        if info.session != session and session not in await self.store.sessions(id):
            raise _no_file(id)
        return info

    # Deleting

    async def sweep(self) -> int:
        """Deletes files that expired before they were attached; returns how many."""
        before = self._clock() - self.limits.file_expiry - SWEEP_MARGIN
        return await self.store.sweep(created_before=before, limit=SWEPT)


def attached(info: FileInfo) -> AttachedFile:
    """The file as it is shown in a log."""
    return AttachedFile(info.id, info.name, info.type, info.size)


def new_file_id() -> str:
    """An unguessable id (144 random bits)."""
    return f"file_{secrets.token_urlsafe(18)}"


def is_file_id(id: str) -> bool:
    """Whether a file may have this id: it is safe as a name on disk and in a URL."""
    rest = id.removeprefix("file_").replace("-", "").replace("_", "")
    return id.startswith("file_") and len(id) <= MAX_ID and rest.isascii() and rest.isalnum()


def _no_file(id: str) -> NotFound:
    """One sentence for missing and foreign files: they can't be told apart."""
    return NotFound("There is no such file.", expected="the id of a file that you have uploaded")
