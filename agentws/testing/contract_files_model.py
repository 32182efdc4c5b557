"""File stores against a model: random calls on two nodes, one after the other and at once."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

from ..errors import NotFound, QuotaExceeded
from ..files import FileInfo, FileStore, NewFile, Quota, Usage
from .needs import pytest

QUOTA = Quota(6, 40)
EPOCH = 978_307_200.0


class FileModel:
    """What a store must hold, by the calls that were made of it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        own = secrets.token_hex(4)
        self.owners = [f"{own}-{name}" for name in ("ann", "bob")]
        self.sessions = [f"ses_{own}_{number:012d}" for number in range(3)]
        self.files: dict[str, FileInfo] = {}
        self.contents: dict[str, bytes] = {}
        self.attached: dict[str, set[str]] = {}
        self.gone: list[str] = []
        self.clock = EPOCH

    def new(self) -> tuple[NewFile, bytes]:
        """A file of one owner, bound to a session or not, or of a session alone."""
        self.clock += 10.0
        owner = self.random.choice([*self.owners, None])
        session = self.random.choice(self.sessions)
        bound = session if owner is None or self.random.random() < 0.3 else None
        id = f"file_{secrets.token_urlsafe(18)}"
        new = NewFile(
            id=id, name="a", type="text/plain", owner=owner, session=bound, created=self.clock
        )
        return new, self.random.randbytes(self.random.randint(0, 12))

    def usage(self, holder: str) -> Usage:
        sizes = [info.size for info in self.files.values() if info.holder == holder]
        return Usage(len(sizes), sum(sizes))

    def some_id(self) -> str:
        return self.random.choice([*self.files, *self.gone, "file_missing"])

    def remove(self, id: str) -> None:
        if self.files.pop(id, None) is not None:
            self.gone.append(id)
        self.attached.pop(id, None)

    def remove_session(self, session: str) -> None:
        for id, info in list(self.files.items()):
            named = self.attached.get(id, set())
            if session in named or info.session == session:
                named.discard(session)
                if not named:
                    self.remove(id)


class FileModelRules:
    """A part of :class:`agentws.testing.contracts.FileStoreContract`."""

    @pytest.mark.parametrize("seed", range(4))
    async def test_random_calls_on_two_nodes_have_the_results_of_the_model(
        self, files: FileStore, peer: FileStore, seed: int
    ) -> None:
        model = FileModel(seed)
        for _ in range(40):
            store = model.random.choice([files, peer])
            await model.random.choice(_CALLS)(model, store)
            await _check(model, model.random.choice([files, peer]))

    @pytest.mark.parametrize("seed", range(4))
    async def test_concurrent_calls_leave_whole_files_and_counts_that_agree(
        self, files: FileStore, peer: FileStore, seed: int
    ) -> None:
        model = FileModel(seed)
        for _ in range(6):
            await _create(model, files)
        whole = dict(model.contents)
        calls: list[Awaitable[object]] = []
        for _ in range(12):
            store = model.random.choice([files, peer])
            new, data = model.new()
            whole[new.id] = data
            id, session = model.some_id(), model.random.choice(model.sessions)
            calls += [
                store.create(new, _chunks(data), quota=QUOTA),
                store.attach([id], session),
                store.delete(id) if model.random.random() < 0.5 else store.delete_session(session),
            ]
        for done in await asyncio.gather(*calls, return_exceptions=True):
            assert not isinstance(done, BaseException) or isinstance(done, NotFound | QuotaExceeded)
        await _check_agreement(files, peer, whole)


async def _check_agreement(files: FileStore, peer: FileStore, whole: dict[str, bytes]) -> None:
    """What exists is whole, on both nodes, and counted; what does not is attached to nothing."""
    counted: dict[str, list[int]] = {}
    for id, data in whole.items():
        try:
            info = await files.info(id)
        except NotFound:
            assert not await peer.sessions(id)
            continue
        counted.setdefault(info.holder, []).append(info.size)
        assert await _content(peer, id) == data
    for holder, sizes in counted.items():
        assert await peer.usage(holder) == Usage(len(sizes), sum(sizes))
        assert len(sizes) <= QUOTA.count and sum(sizes) <= QUOTA.size


async def _check(model: FileModel, store: FileStore) -> None:
    for id, info in model.files.items():
        assert await store.info(id) == info
        assert set(await store.sessions(id)) == model.attached.get(id, set())
    for id in model.gone[-3:]:
        assert await _refused(store.info(id), NotFound)
        assert not await store.sessions(id)
    for holder in {info.holder for info in model.files.values()}:
        assert await store.usage(holder) == model.usage(holder)


# Calls, each with what it does to the model


async def _create(model: FileModel, store: FileStore) -> None:
    new, data = model.new()
    before = model.usage(new.holder)
    fits = before.count < QUOTA.count and before.size + len(data) <= QUOTA.size
    created = store.create(new, _chunks(data), quota=QUOTA)
    if fits:
        model.files[new.id] = await created
        model.contents[new.id] = data
    else:
        assert await _refused(created, QuotaExceeded)
        model.gone.append(new.id)


async def _create_cut(model: FileModel, store: FileStore) -> None:
    new, data = model.new()
    assert await _refused(store.create(new, _chunks(data, cut=True)), ConnectionError)
    model.gone.append(new.id)


async def _attach(model: FileModel, store: FileStore) -> None:
    ids = [model.some_id() for _ in range(model.random.randint(1, 2))]
    session = model.random.choice(model.sessions)
    if all(id in model.files for id in ids):
        await store.attach(ids, session)
        for id in ids:
            model.attached.setdefault(id, set()).add(session)
    else:
        assert await _refused(store.attach(ids, session), NotFound)


async def _read(model: FileModel, store: FileStore) -> None:
    id = model.some_id()
    if id in model.files:
        assert await _content(store, id) == model.contents[id]
    else:
        assert await _refused(_content(store, id), NotFound)


async def _delete(model: FileModel, store: FileStore) -> None:
    id = model.some_id()
    await store.delete(id)
    model.remove(id)


async def _delete_session(model: FileModel, store: FileStore) -> None:
    session = model.random.choice(model.sessions)
    await store.delete_session(session)
    model.remove_session(session)


async def _sweep(model: FileModel, store: FileStore) -> None:
    """Other tests may have left files in the same store: so it is swept to the end."""
    before = model.random.uniform(EPOCH, model.clock + 1)
    while await store.sweep(created_before=before) >= 100:
        pass
    for id, info in list(model.files.items()):
        if info.created < before and not model.attached.get(id):
            model.remove(id)


_CALLS: list[Callable[[FileModel, FileStore], Awaitable[None]]] = [
    *[_create, _attach] * 3,
    _create_cut,
    _read,
    _delete,
    _delete_session,
    _sweep,
]


async def _chunks(data: bytes, *, cut: bool = False) -> AsyncIterator[bytes]:
    for byte in data:
        yield bytes([byte])
    if cut:
        raise ConnectionError("the upload was cut")


async def _content(store: FileStore, id: str) -> bytes:
    return b"".join([part async for part in store.read(id)])


async def _refused(call: Awaitable[object], error: type[Exception]) -> bool:
    try:
        await call
    except error:
        return True
    return False
