"""The contract of :class:`agentws.files.FileStore`, as a test suite to subclass.

::

    from agentws.testing.contracts import FileStoreContract

    class TestMyFileStore(FileStoreContract):
        @pytest.fixture
        async def files(self):
            files = MyFileStore(...)
            await files.open()
            yield files
            await files.close()

Every test makes its own files and sessions, so a shared server can be used.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator

from ..errors import NotFound, QuotaExceeded
from ..files import FileInfo, FileStore, NewFile, Quota, Usage
from .contract_files_model import FileModelRules
from .needs import pytest

MIB = 1024 * 1024


class Cut(Exception):
    """What an upload raises whose connection was cut."""


def new_file(*, owner: str | None = None, session: str | None = None, age: float = 0.0) -> NewFile:
    """A file of nobody else; ``age`` is in seconds before 2001."""
    return NewFile(
        id=f"file_{secrets.token_urlsafe(18)}",
        name="nai\u0308ve \U0001f600.txt",
        type="text/plain",
        owner=owner,
        session=session or (None if owner else new_session()),
        created=978_307_200.0 - age,
    )


def new_session() -> str:
    return f"ses_{secrets.token_urlsafe(18)}"


async def chunks(*parts: bytes, then: BaseException | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
        await asyncio.sleep(0)
    if then is not None:
        raise then


async def content(files: FileStore, id: str, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join([part async for part in files.read(id, start=start, stop=stop)])


async def stored(files: FileStore, data: bytes = b"data", **about: str | None) -> FileInfo:
    return await files.create(new_file(**about), chunks(data))  # type: ignore[arg-type]


async def exists(files: FileStore, id: str) -> bool:
    try:
        await files.info(id)
    except NotFound:
        return False
    return True


@pytest.mark.anyio
class FileStoreContract(FileModelRules):
    """Tests what :class:`agentws.files.FileStore` promises, as far as a healthy store can show it.

    Override the fixture ``files``, and ``peer`` (a second store over the same data) if the
    technology can be shared. Test yourself what happens when the technology fails.
    """

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    async def files(self) -> FileStore:
        """An open store. Override it with an async fixture that yields it and closes it."""
        raise NotImplementedError("override the fixture `files`")

    @pytest.fixture
    async def peer(self, files: FileStore) -> FileStore:
        """A second open store over the same data, if two nodes can share it."""
        return files

    # Content

    @pytest.mark.parametrize("size", [0, 1, 65_536, 6 * MIB + 1])
    async def test_a_file_is_read_as_it_was_written(
        self, files: FileStore, peer: FileStore, size: int
    ) -> None:
        data = secrets.token_bytes(size)
        new = new_file(owner="ann", session=new_session())
        parts = [data[at : at + 100_000] for at in range(0, size, 100_000)]
        info = await files.create(new, chunks(*parts, b""))
        assert (info.size, info.sha256) == (size, hashlib.sha256(data).hexdigest())
        for name in NewFile.__struct_fields__:
            assert getattr(info, name) == getattr(new, name), name
        assert await peer.info(new.id) == info
        read = [part async for part in peer.read(new.id)]
        assert b"".join(read) == data
        assert max(map(len, read), default=0) <= MIB

    @pytest.mark.parametrize(
        ("start", "stop"), [(0, None), (3, None), (0, 4), (2, 5), (9, 10), (10, None), (4, 4)]
    )
    async def test_a_part_of_a_file_is_read(
        self, files: FileStore, start: int, stop: int | None
    ) -> None:
        info = await stored(files, b"0123456789", owner=secrets.token_hex(4))
        assert await content(files, info.id, start, stop) == b"0123456789"[start:stop]

    async def test_a_part_that_ends_after_the_file_ends_with_it(self, files: FileStore) -> None:
        info = await stored(files, b"0123456789", owner=secrets.token_hex(4))
        assert await content(files, info.id, 8, 100) == b"89"

    async def test_a_reader_may_stop_early(self, files: FileStore) -> None:
        info = await stored(files, bytes(3 * MIB), owner=secrets.token_hex(4))
        reading = files.read(info.id)
        assert await anext(reading)
        await reading.aclose()
        assert await exists(files, info.id)

    # All or nothing

    @pytest.mark.parametrize("sent", [0, 10, 6 * MIB])
    async def test_nothing_is_left_of_an_upload_that_fails(
        self, files: FileStore, peer: FileStore, sent: int
    ) -> None:
        new = new_file(owner=secrets.token_hex(4))
        with pytest.raises(Cut):
            await files.create(new, chunks(bytes(sent), then=Cut()))
        assert not await exists(peer, new.id)
        assert await peer.usage(new.holder) == Usage(0, 0)
        with pytest.raises(NotFound):
            await content(peer, new.id)

    @pytest.mark.parametrize("sent", [0, 10, 6 * MIB])
    async def test_nothing_is_left_of_an_upload_that_is_cancelled(
        self, files: FileStore, sent: int
    ) -> None:
        new, waiting = new_file(owner=secrets.token_hex(4)), asyncio.Event()

        async def stalled() -> AsyncIterator[bytes]:
            yield bytes(sent)
            waiting.set()
            await asyncio.Event().wait()

        upload = asyncio.ensure_future(files.create(new, stalled()))
        await waiting.wait()
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        assert not await exists(files, new.id)
        assert await files.usage(new.holder) == Usage(0, 0)

    async def test_a_file_can_not_be_seen_before_it_is_complete(
        self, files: FileStore, peer: FileStore
    ) -> None:
        new = new_file(owner=secrets.token_hex(4))
        seen: list[bool] = []

        async def watched() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield bytes(1000)
                seen.append(await exists(peer, new.id))

        await files.create(new, watched())
        assert seen == [False, False, False]
        assert await exists(peer, new.id)

    # Quotas

    async def test_the_usage_of_a_holder_is_counted(
        self, files: FileStore, peer: FileStore
    ) -> None:
        ann, session = secrets.token_hex(4), new_session()
        first = await stored(files, b"12345", owner=ann)
        await stored(files, b"123", owner=ann, session=session)
        other = await stored(files, b"1", session=session)
        assert await peer.usage(first.holder) == Usage(2, 8)
        assert await peer.usage(other.holder) == Usage(1, 1)
        await files.delete(first.id)
        assert await peer.usage(first.holder) == Usage(1, 3)

    @pytest.mark.parametrize("quota", [Quota(2, 100), Quota(100, 25)])
    async def test_a_file_above_the_quota_is_not_stored(
        self, files: FileStore, quota: Quota
    ) -> None:
        ann = secrets.token_hex(4)
        for _ in range(2):
            await files.create(new_file(owner=ann), chunks(bytes(10)), quota=quota)
        new = new_file(owner=ann)
        with pytest.raises(QuotaExceeded):
            await files.create(new, chunks(bytes(10)), quota=quota)
        assert not await exists(files, new.id)
        assert await files.usage(new.holder) == Usage(2, 20)

    async def test_concurrent_uploads_never_exceed_the_quota(
        self, files: FileStore, peer: FileStore
    ) -> None:
        ann = secrets.token_hex(4)
        uploads = [
            store.create(new_file(owner=ann), chunks(bytes(10)), quota=Quota(3, 1000))
            for store in (files, peer) * 4
        ]
        done = await asyncio.gather(*uploads, return_exceptions=True)
        kept = [one for one in done if isinstance(one, FileInfo)]
        assert all(isinstance(one, FileInfo | QuotaExceeded) for one in done), done
        assert len(kept) <= 3
        assert await files.usage(new_file(owner=ann).holder) == Usage(len(kept), 10 * len(kept))

    # Sessions

    async def test_files_are_attached_to_sessions(self, files: FileStore, peer: FileStore) -> None:
        one, two = await stored(files, owner="ann"), await stored(files, owner="ann")
        session, other = new_session(), new_session()
        await files.attach([one.id, two.id], session)
        await peer.attach([one.id], session)
        await peer.attach([one.id], other)
        assert sorted(await peer.sessions(one.id)) == sorted([session, other])
        assert await peer.sessions(two.id) == [session]
        assert not await files.sessions(new_file(owner="ann").id)

    async def test_a_file_that_does_not_exist_can_not_be_attached(self, files: FileStore) -> None:
        missing = new_file(owner="ann").id
        with pytest.raises(NotFound):
            await files.attach([missing], new_session())
        assert not await files.sessions(missing)

    async def test_deleting_a_session_deletes_its_files(
        self, files: FileStore, peer: FileStore
    ) -> None:
        session, other = new_session(), new_session()
        uploaded = await stored(files, session=session)
        attached = await stored(files, owner="ann")
        shared = await stored(files, owner="ann")
        unrelated = await stored(files, session=other)
        await files.attach([attached.id, shared.id], session)
        await files.attach([shared.id], other)
        for store in (peer, files):
            await store.delete_session(session)
        assert not await exists(peer, uploaded.id)
        assert not await exists(peer, attached.id)
        assert await exists(peer, unrelated.id)
        assert await content(peer, shared.id) == b"data"
        assert await files.sessions(shared.id) == [other]
        await peer.delete_session(other)
        assert not await exists(files, shared.id)

    # Deleting

    async def test_a_file_is_deleted_once_and_for_all(
        self, files: FileStore, peer: FileStore
    ) -> None:
        info = await stored(files, owner="ann")
        await files.attach([info.id], new_session())
        for store in (files, peer):
            await store.delete(info.id)
        assert not await exists(peer, info.id)
        assert not await peer.sessions(info.id)
        with pytest.raises(NotFound):
            await content(peer, info.id)

    async def test_a_sweep_deletes_old_files_that_no_session_has(
        self, files: FileStore, peer: FileStore
    ) -> None:
        old, kept = new_file(owner="ann", age=500.0), new_file(owner="ann", age=500.0)
        young, unattached = new_file(owner="ann"), new_file(session=new_session(), age=500.0)
        for new in (old, kept, young, unattached):
            await files.create(new, chunks(b"data"))
        await files.attach([kept.id], new_session())
        while await peer.sweep(created_before=young.created - 100.0, limit=1):
            pass
        assert not await exists(files, old.id)
        assert not await exists(files, unattached.id)
        assert await exists(files, kept.id) and await exists(files, young.id)
