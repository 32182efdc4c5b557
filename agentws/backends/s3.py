"""Files in a bucket of S3, or of anything that speaks its protocol.

A file exists when its ``info/`` object does: that is written last and deleted first. S3 has no
transactions, so everything else is a marker, an empty object whose key says it all::

    data/ID                   the content
    info/ID                   what is known of it, as JSON
    new/CREATED/ID            it is not attached, or not complete: what a sweep looks at
    held/HOLDER/ID/SIZE       whose quota it counts for
    of/ID/SESSION             it is attached to that session
    in/SESSION/ID             the same by session, and files that were uploaded for it
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Final

import msgspec

try:
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import S3Store
except ImportError as error:
    raise ImportError('files in S3 need obstore: pip install "agentws[s3]"') from error

from ..bus import Scope
from ..errors import AgentwsError, NotFound, Unavailable
from ..files import FileInfo, FileStore, Measure, NewFile, Quota, Usage

__all__ = ["S3FileStore"]

PART: Final = 5 * 1024 * 1024
"""Bytes of a part of an upload: the least that S3 accepts. One part is in memory, and one sent."""
CHUNK: Final = 1024 * 1024
RETRIES: Final[dict[str, Any]] = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}

_info: Final = msgspec.json.Decoder(FileInfo)
_new: Final = msgspec.json.Decoder(NewFile)
_encode: Final = msgspec.json.Encoder().encode


class S3FileStore(FileStore):
    """Keeps files in ``bucket``, under ``prefix``.

    ``options`` are those of obstore's ``S3Store``: ``region``, ``endpoint``, ``access_key_id``,
    ``secret_access_key``, ``client_options``, ...; without keys the usual places of AWS are asked.
    Set a lifecycle rule for the bucket that aborts incomplete multipart uploads after a day: those
    of a node that was killed are left there.
    """

    scope: Scope = "cluster"

    def __init__(self, bucket: str, *, prefix: str = "", **options: Any) -> None:
        self._bucket = bucket
        root = prefix.strip("/") or None
        settings = {"retry_config": RETRIES, **options}
        self._store = S3Store(bucket, prefix=root, **settings)

    def __repr__(self) -> str:
        return f"<S3FileStore {self._bucket}>"

    async def open(self) -> None:
        await self._keys("info/none/")

    # Writing

    async def create(
        self, new: NewFile, chunks: AsyncIterator[bytes], *, quota: Quota | None = None
    ) -> FileInfo:
        measure = Measure()
        try:
            await self._put(_marker(new), _encode(new))
            await self._upload(f"data/{new.id}", chunks, measure)
            info = measure.complete(new)
            await self._put(f"{_held(new)}{info.size}")
            if quota is not None:
                quota.check(await self.usage(new.holder))
            if new.session is not None:
                await self._put(f"in/{_hex(new.session)}/{new.id}")
            await self._put(f"info/{new.id}", _encode(info))
        except BaseException:
            await asyncio.shield(self._discard(new))
            raise
        return info

    async def _discard(self, new: NewFile) -> None:
        """Removes an upload that failed. What can't be removed now is swept later."""
        with suppress(AgentwsError):
            await self._clean(new)

    async def _upload(self, key: str, chunks: AsyncIterator[bytes], measure: Measure) -> None:
        """Sends the chunks as they come. If they end by an exception, the object is not made."""
        pipe = _Pipe()
        putting = obstore.put_async(
            self._store, key, pipe.parts(), chunk_size=PART, max_concurrency=1
        )
        sending = asyncio.ensure_future(_sent(putting))
        try:
            async for chunk in chunks:
                measure.add(chunk)
                await pipe.send(chunk, sending)
            await pipe.send(None, sending)
        except BaseException:
            # No cancellation: the client would leave the parts that it has sent in the store.
            pipe.give_up()
            await asyncio.wait([sending])
            if not sending.cancelled():
                sending.exception()
            raise
        await sending

    async def _put(self, key: str, data: bytes = b"") -> None:
        with _translated():
            await obstore.put_async(self._store, key, data, use_multipart=False)

    # Reading

    async def info(self, id: str) -> FileInfo:
        return _info.decode(await self._get(f"info/{id}"))

    async def _get(self, key: str) -> bytes:
        with _translated():
            found = await obstore.get_async(self._store, key)
            return bytes(await found.bytes_async())

    async def read(
        self, id: str, *, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        info = await self.info(id)
        end = info.size if stop is None else min(stop, info.size)
        if start >= end:
            return
        with _translated():
            found = await obstore.get_async(
                self._store, f"data/{id}", options={"range": (start, end)}
            )
            async for part in found.stream(min_chunk_size=CHUNK // 4):
                data = bytes(part)
                for at in range(0, len(data), CHUNK):
                    yield data[at : at + CHUNK]

    async def _keys(self, prefix: str) -> list[str]:
        """The keys that begin with ``prefix``, in their order, without it."""
        with _translated():
            found = [
                str(one["path"])
                async for batch in obstore.list(self._store, prefix)
                for one in batch
            ]
        return sorted(key.partition(prefix)[2] for key in found)

    # Sessions

    async def attach(self, ids: Sequence[str], session: str) -> None:
        infos = [await self.info(id) for id in ids]
        for info in infos:
            await self._put(f"in/{_hex(session)}/{info.id}")
            await self._put(f"of/{info.id}/{_hex(session)}")
            try:
                await self.info(info.id)
            except NotFound:
                # It was deleted meanwhile.
                await self._remove(
                    [f"of/{info.id}/{_hex(session)}", f"in/{_hex(session)}/{info.id}"]
                )
                raise
            await self._remove([_marker(info)])

    async def sessions(self, id: str) -> Sequence[str]:
        return [bytes.fromhex(key).decode() for key in await self._keys(f"of/{id}/")]

    async def usage(self, holder: str) -> Usage:
        sizes = [int(key.partition("/")[2]) for key in await self._keys(f"held/{_hash(holder)}/")]
        return Usage(len(sizes), sum(sizes))

    # Deleting

    async def delete(self, id: str) -> None:
        with suppress(NotFound):
            await self._delete(await self.info(id))

    async def _delete(self, info: NewFile) -> None:
        # The marker first: it says what a sweep has to remove if this does not end.
        await self._put(_marker(info), _encode(_only_new(info)))
        await self._remove([f"info/{info.id}"])
        await self._clean(info)

    async def _clean(self, new: NewFile) -> None:
        """Removes everything of a file that does not exist, and the marker last."""
        named = await self._keys(f"of/{new.id}/")
        sizes = await self._keys(_held(new))
        keys = [f"info/{new.id}", f"data/{new.id}", *(f"{_held(new)}{size}" for size in sizes)]
        keys += [f"of/{new.id}/{session}" for session in named]
        keys += [f"in/{session}/{new.id}" for session in named]
        if new.session is not None:
            keys.append(f"in/{_hex(new.session)}/{new.id}")
        await self._remove(keys)
        await self._remove([_marker(new)])

    async def _remove(self, keys: Sequence[str]) -> None:
        with _translated():
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, list(keys))

    async def delete_session(self, session: str) -> None:
        for id in await self._keys(f"in/{_hex(session)}/"):
            await self._remove([f"of/{id}/{_hex(session)}"])
            if not await self._keys(f"of/{id}/"):
                await self.delete(id)
            await self._remove([f"in/{_hex(session)}/{id}"])

    async def sweep(self, *, created_before: float, limit: int = 100) -> int:
        swept = 0
        for key in await self._keys("new/"):
            created, _, id = key.partition("/")
            if swept == limit or int(created) >= int(created_before * 1000):
                break
            with suppress(NotFound):
                new = _new.decode(await self._get(f"new/{key}"))
                swept += await self._sweep(new, key)
        return swept

    async def _sweep(self, new: NewFile, key: str) -> bool:
        try:
            info = await self.info(new.id)
        except NotFound:
            await self._clean(new)
            return True
        if await self._keys(f"of/{new.id}/"):
            await self._remove([f"new/{key}"])
            return False
        await self._delete(info)
        return True


async def _sent(putting: Awaitable[Any]) -> None:
    with _translated():
        await putting


class _Pipe:
    """Passes chunks to the client of S3, which reads them in a task of its own."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._given_up = asyncio.Event()

    async def send(self, chunk: bytes | None, sending: asyncio.Future[None]) -> None:
        """Returns when there is room for the next one; raises what made ``sending`` fail."""
        putting = asyncio.ensure_future(self._queue.put(chunk))
        try:
            await asyncio.wait([putting, sending], return_when=asyncio.FIRST_COMPLETED)
        finally:
            putting.cancel()
        if sending.done():
            sending.result()

    def give_up(self) -> None:
        self._given_up.set()
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def parts(self) -> AsyncIterator[bytes]:
        while (chunk := await self._queue.get()) is not None:
            yield chunk
        if self._given_up.is_set():
            raise InterruptedError("the upload was given up")


def _marker(new: NewFile) -> str:
    """Keys compare as text: so a fixed number of digits, of milliseconds."""
    return f"new/{round(new.created * 1000):015d}/{new.id}"


def _held(new: NewFile) -> str:
    return f"held/{_hash(new.holder)}/{new.id}/"


def _hex(session: str) -> str:
    """A session's id as part of a key: it may have characters that keys can't."""
    return session.encode().hex()


def _hash(holder: str) -> str:
    """An identity's id may be long, and personal."""
    return hashlib.sha256(holder.encode()).hexdigest()


def _only_new(info: NewFile) -> NewFile:
    return NewFile(**{name: getattr(info, name) for name in NewFile.__struct_fields__})


@contextmanager
def _translated() -> Iterator[None]:
    """Translates the client's errors into ones that reveal no addresses."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound("There is no such file.") from error
    except (BaseError, OSError) as error:
        raise Unavailable("The store of the files can't be reached.") from error
