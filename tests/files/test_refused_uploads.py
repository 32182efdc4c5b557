"""Uploads that are refused over HTTP: limits, bad requests, a store that fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from agentws.backends.memory_files import MemoryFileStore
from agentws.errors import StorageFull, Unavailable
from agentws.files import FileInfo, NewFile, Quota

from .calling import ANN, BOB, OTHER, SESSION, held, put, refused, served, slices


@pytest.mark.parametrize("length", [True, False])
async def test_a_file_that_is_too_large_is_refused_as_soon_as_that_is_known(length: bool) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(2000):
            read += 1_000_000
            yield bytes(1_000_000)

    headers = {"content-length": "2000000000"} if length else {}
    async with served(max_file_size=10_000_000) as (gateway, http):
        done = await http.put(
            "/files/x", content=endless(), params={"session": SESSION}, headers=headers
        )
        error = refused(done, 413, "too_large")
        assert error["expected"] == "at most 10000000 bytes"
        assert held(gateway) == 0
        assert gateway.files is not None
        store = gateway.files.store
        assert isinstance(store, MemoryFileStore) and store._size == 0


async def test_one_file_of_a_form_that_is_too_large_leaves_none_of_them() -> None:
    async with served(max_file_size=1000) as (gateway, http):
        sent = [("f", ("a", b"1")), ("f", ("b", bytes(2000))), ("f", ("c", b"3"))]
        done = await http.post("/files", files=sent, params={"session": SESSION})
        refused(done, 413, "too_large")
        assert held(gateway) == 0


async def test_a_form_has_as_many_files_as_a_message() -> None:
    async with served(max_files_per_message=2) as (gateway, http):
        for count, status in ((2, 201), (3, 400)):
            sent = [("f", (str(number), b"x")) for number in range(count)]
            done = await http.post("/files", files=sent, params={"session": SESSION})
            assert done.status_code == status
        assert held(gateway) == 2


async def test_a_quota_counts_what_one_identity_has() -> None:
    async with served(known=True, file_quota=1000, max_files=3) as (_, http):
        for _ in range(2):
            await put(http, bytes(400), session=None, headers=ANN)
        done = await http.put("/files/x", content=bytes(400), headers=ANN)
        refused(done, 413, "quota_exceeded")
        await put(http, bytes(10), session=None, headers=ANN)
        refused(await http.put("/files/x", content=b"x", headers=ANN), 413, "quota_exceeded")
        await put(http, bytes(400), session=None, headers=BOB)


async def test_a_session_without_an_identity_has_a_quota_of_its_own() -> None:
    async with served(max_files=1) as (_, http):
        await put(http, session=SESSION)
        done = await http.put("/files/x", content=b"x", params={"session": SESSION})
        refused(done, 413, "quota_exceeded")
        await put(http, session=OTHER)


async def test_uploads_at_the_same_time_are_counted_and_the_slots_come_back() -> None:
    async with served(max_uploads_per_caller=1) as (_, http):
        inner: list[httpx2.Response] = []

        async def nested() -> AsyncIterator[bytes]:
            yield b"a"
            inner.append(await http.put("/files/x", content=b"x", params={"session": SESSION}))
            yield b"b"

        await put(http, nested())
        refused(inner[0], 429, "too_many")
        await put(http)


FORM = "multipart/form-data; boundary=XX"
PART = b'--XX\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nabc\r\n'


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("", b"x", 415),
        ("multipart/form-data", PART, 400),
        ("multipart/form-data; boundary=" + "x" * 300, PART, 400),
        (FORM, b"", 400),
        (FORM, b"nonsense", 400),
        (FORM, PART, 400),
        (FORM, PART[:30], 400),
        (FORM, b"--XX--\r\n", 400),
        (FORM, b'--XX\r\nContent-Disposition: form-data; name="f"\r\n\r\nabc\r\n--XX--\r\n', 400),
        (FORM, b"--XX\r\n" + b"a: b\r\n" * 50 + b"\r\nabc\r\n--XX--\r\n", 400),
        (FORM, b"--XX\r\na: " + b"b" * 100_000 + b"\r\n\r\nabc\r\n--XX--\r\n", 400),
        (FORM, PART + b"--XX--\r\n" + b"x" * 600_000, 413),
        (FORM, (b'--XX\r\nContent-Disposition: form-data; name="f"\r\n\r\nabc\r\n') * 6000, 413),
    ],
)
async def test_a_form_that_can_not_be_read_is_refused(kind: str, body: bytes, status: int) -> None:
    async with served() as (gateway, http):
        done = await http.post(
            "/files",
            content=slices(body, 10_000),
            params={"session": SESSION},
            headers={"content-type": kind} if kind else {},
        )
        assert done.status_code == status, done.text
        assert done.json()["expected"]
        assert held(gateway) == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"content-encoding": "gzip"}, 415), ({"content-range": "bytes 0-4/10"}, 400)],
)
async def test_an_upload_is_neither_compressed_nor_a_part(
    headers: dict[str, str], status: int
) -> None:
    async with served() as (_, http):
        done = await http.put(
            "/files/x", content=b"12345", params={"session": SESSION}, headers=headers
        )
        assert done.status_code == status


async def test_an_upload_without_an_identity_names_its_session() -> None:
    async with served() as (_, http):
        refused(await http.put("/files/x", content=b"x"), 400, "bad_request")
        short = await http.put("/files/x", content=b"x", params={"session": "short"})
        refused(short, 400, "bad_request")


async def test_without_a_file_store_there_are_no_routes() -> None:
    from tests.http.calling import served as without

    async with without() as (_, http):
        done = await http.put("/files/x", content=b"x", params={"session": SESSION})
        assert done.status_code == 404


class Failing(MemoryFileStore):
    """Fails to create files, after it has read them."""

    error: Exception = Unavailable()

    async def create(
        self, new: NewFile, chunks: AsyncIterator[bytes], *, quota: Quota | None = None
    ) -> FileInfo:
        async for _ in chunks:
            pass
        raise self.error


@pytest.mark.parametrize(
    ("error", "code"), [(StorageFull(), "storage_full"), (Unavailable(), "unavailable")]
)
async def test_a_store_that_fails_is_an_error_that_can_be_retried(
    error: Exception, code: str
) -> None:
    store = Failing()
    store.error = error
    async with served(files=store) as (_, http):
        for send in (
            http.put("/files/x", content=b"x", params={"session": SESSION}),
            http.post("/files", files={"f": ("a", b"x")}, params={"session": SESSION}),
        ):
            done: Any = refused(await send, 503, code)
            assert done["retryable"] is True
