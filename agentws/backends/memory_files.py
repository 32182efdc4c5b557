"""A file store in memory, for tests and for a gateway whose sessions end with its process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

from ..bus import Scope
from ..errors import NotFound, StorageFull
from ..files import FileInfo, FileStore, Measure, NewFile, Quota, Usage
from ..settings import Count, check_setting

CHUNK: Final = 256 * 1024


class MemoryFileStore(FileStore):
    """Keeps files until the process ends. ``max_size``: bytes of all files together."""

    scope: Scope = "process"

    def __init__(self, *, max_size: int = 256 * 1024 * 1024) -> None:
        check_setting("max_size", max_size, Count)
        self._max_size = max_size
        self._size = 0
        self._files: dict[str, tuple[FileInfo, bytes]] = {}
        self._attached: dict[str, set[str]] = {}

    def __repr__(self) -> str:
        return f"<MemoryFileStore files={len(self._files)}>"

    async def create(
        self, new: NewFile, chunks: AsyncIterator[bytes], *, quota: Quota | None = None
    ) -> FileInfo:
        measure, parts, taken = Measure(), list[bytes](), 0
        try:
            async for chunk in chunks:
                if self._size + len(chunk) > self._max_size:
                    raise StorageFull()
                self._size += len(chunk)
                taken += len(chunk)
                measure.add(chunk)
                parts.append(chunk)
            info = measure.complete(new)
            if quota is not None:
                usage = await self.usage(new.holder)
                quota.check(Usage(usage.count + 1, usage.size + info.size))
        except BaseException:
            self._size -= taken
            raise
        self._files[new.id] = info, b"".join(parts)
        return info

    async def info(self, id: str) -> FileInfo:
        return self._found(id)[0]

    async def read(
        self, id: str, *, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        data = self._found(id)[1][start:stop]
        for at in range(0, len(data), CHUNK):
            yield data[at : at + CHUNK]

    def _found(self, id: str) -> tuple[FileInfo, bytes]:
        found = self._files.get(id)
        if found is None:
            raise NotFound("There is no such file.")
        return found

    async def delete(self, id: str) -> None:
        found = self._files.pop(id, None)
        if found is not None:
            self._size -= found[0].size
            self._attached.pop(id, None)

    async def attach(self, ids: Sequence[str], session: str) -> None:
        for id in ids:
            self._found(id)
        for id in ids:
            self._attached.setdefault(id, set()).add(session)

    async def sessions(self, id: str) -> Sequence[str]:
        return sorted(self._attached.get(id, ()))

    async def delete_session(self, session: str) -> None:
        for id, (info, _) in list(self._files.items()):
            attached = self._attached.get(id, set())
            if session in attached or info.session == session:
                attached.discard(session)
                if not attached:
                    await self.delete(id)

    async def usage(self, holder: str) -> Usage:
        sizes = [info.size for info, _ in self._files.values() if info.holder == holder]
        return Usage(len(sizes), sum(sizes))

    async def sweep(self, *, created_before: float, limit: int = 100) -> int:
        expired = [
            id
            for id, (info, _) in self._files.items()
            if info.created < created_before and not self._attached.get(id)
        ]
        for id in expired[:limit]:
            await self.delete(id)
        return len(expired[:limit])
