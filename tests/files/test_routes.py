"""Upload, download and delete over HTTP, in process."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from agentws.backends.memory_files import MemoryFileStore
from agentws.errors import StorageFull, Unavailable
from agentws.files import FileInfo, NewFile, Quota

from .calling import ANN, BOB, OTHER, PNG, SESSION, held, put, refused, served


def a_zip() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a.txt", "hello")
    return data.getvalue()


async def slices(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


EMOJI = "\U0001f389 party \U0001f468\u200d\U0001f469.txt"

# Uploads


async def test_a_raw_body_is_kept_as_a_file() -> None:
    async with served() as (_, http):
        file = await put(http, slices(b"Hello" * 1000), name="hello.txt")
        assert file == {
            "id": file["id"],
            "name": "hello.txt",
            "type": "text/plain",
            "size": 5000,
            "sha256": hashlib.sha256(b"Hello" * 1000).hexdigest(),
            "createdAt": file["createdAt"],
        }
        assert re.fullmatch(r"file_[A-Za-z0-9_-]{24}", file["id"])
        got = await http.get(f"/files/{file['id']}", params={"session": SESSION})
        assert got.content == b"Hello" * 1000


async def test_the_files_of_a_form_are_kept_in_their_order() -> None:
    async with served() as (_, http):
        sent: list[Any] = [
            ("files", ("one.png", PNG, "image/png")),
            ("files", ("zwei.txt", b"x" * 300_000, "text/plain")),
            ("other", ("", b"")),
        ]
        done = await http.post(
            "/files", files=sent, data={"note": "a field"}, params={"session": SESSION}
        )
        assert done.status_code == 201, done.text
        files = done.json()["files"]
        assert [(one["name"], one["type"], one["size"]) for one in files[:2]] == [
            ("one.png", "image/png", len(PNG)),
            ("zwei.txt", "text/plain", 300_000),
        ]
        for one, (_, (_, data, *_)) in zip(files, sent, strict=False):
            got = await http.get(f"/files/{one['id']}", params={"session": SESSION})
            assert got.content == data


@pytest.mark.parametrize("cut", [1, 7, 64])
async def test_a_form_is_read_however_it_is_cut(cut: int) -> None:
    body = (
        b'--XX\r\nContent-Disposition: form-data; name="f"; filename="a\\"%22b.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\nline\r\n--XY\r\n--X\r\n"
        b"\r\n--XX--\r\n"
    )
    async with served() as (_, http):
        done = await http.post(
            "/files",
            content=slices(body, cut),
            params={"session": SESSION},
            headers={"content-type": "multipart/form-data; boundary=XX"},
        )
        (file,) = done.json()["files"]
        got = await http.get(f"/files/{file['id']}", params={"session": SESSION})
        assert got.content == b"line\r\n--XY\r\n--X\r\n"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\cv.pdf", "cv.pdf"),
        ("two\nlines\r\n.txt", "two lines .txt"),
        (
            "\U0001f389 party \U0001f468\u200d\U0001f469.txt",
            "\U0001f389 party \U0001f468\u200d\U0001f469.txt",
        ),
        ("photo\u202egpj.exe", "photogpj.exe"),
        ("..", "file"),
        ("e\u0301.txt", "\u00e9.txt"),
        ("x" * 500 + ".tar", "x" * 196 + ".tar"),
        ('a"b<c>.txt', "a_b_c_.txt"),
    ],
)
async def test_a_name_is_only_what_a_person_reads(name: str, kept: str) -> None:
    async with served() as (_, http):
        sent = {"f": (name, b"root", "text/plain")}
        done = await http.post("/files", files=sent, params={"session": SESSION})
        (file,) = done.json()["files"]
        assert file["name"] == kept
        got = await http.get(f"/files/{file['id']}", params={"session": SESSION})
        assert got.content == b"root"
        header = got.headers["content-disposition"]
        assert header.isascii() and header.isprintable()
        assert header.startswith('attachment; filename="')
        assert header.endswith(f"; filename*=UTF-8''{quote(kept, safe='')}")


@pytest.mark.parametrize(
    ("data", "name", "declared", "kind"),
    [
        (PNG, "x.png", "image/png", "image/png"),
        (PNG, "x.exe", "application/x-msdownload", "image/png"),
        (a_zip(), "x.png", "image/png", "application/zip"),
        (a_zip(), "x.zip", None, "application/zip"),
        (b"%PDF-1.7\n" + b"x" * 50, "x.png", None, "application/pdf"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "x.png", None, "image/svg+xml"),
        (b"<!DOCTYPE html><script>1</script>", "x.txt", "text/plain", "text/html"),
        (b"a,b\n1,2\n", "x.csv", None, "text/csv"),
        (b'{"a": 1}', "x.json", "application/json", "application/json"),
        (b"plain", "x.png", "image/png", "text/plain"),
        (b"0123456789", "x.txt", "text/plain", "text/plain"),
        ("\u00fc".encode() * 5000, "x", None, "text/plain"),
        (b"\x00\x01\x02\x03" * 20, "x.png", "image/png", "application/octet-stream"),
        (b"", "x.txt", None, "text/plain"),
    ],
)
async def test_the_type_is_recognized_by_the_content(
    data: bytes, name: str, declared: str | None, kind: str
) -> None:
    async with served() as (_, http):
        headers = {} if declared is None else {"content-type": declared}
        assert (await put(http, data, name=name, headers=headers))["type"] == kind


async def test_a_type_that_is_not_accepted_is_refused_and_nothing_is_left() -> None:
    types = ("image/*", "application/pdf")
    async with served(file_types=types) as (gateway, http):
        await put(http, PNG, name="x.zip")
        for data in (a_zip(), b"text", b""):
            done = await http.put("/files/x.png", content=data, params={"session": SESSION})
            error = refused(done, 415, "unsupported_media")
            assert error["expected"] == "image/* or application/pdf"
        assert held(gateway) == 1


# Limits


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


# Bad requests


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


# Access


async def test_a_file_of_an_identity_is_for_nobody_else() -> None:
    async with served(known=True) as (_, http):
        file = await put(http, session=None, headers=ANN)
        path = f"/files/{file['id']}"
        assert (await http.get(path, headers=ANN)).content == b"Hello"
        missing = await http.get("/files/file_aaaaaaaaaaaaaaaaaaaaaaaa", headers=BOB)
        for method in ("GET", "DELETE"):
            foreign = await http.request(method, path, headers=BOB)
            assert foreign.json() == missing.json()
            refused(foreign, 404, "not_found")
            refused(await http.request(method, path), 401, "unauthenticated")
        refused(await http.put("/files/x", content=b"x"), 401, "unauthenticated")


async def test_a_file_without_an_owner_is_for_who_knows_its_session() -> None:
    async with served() as (_, http):
        file = await put(http)
        await put(http, session=OTHER)
        path = f"/files/{file['id']}"
        for session in (None, OTHER, "ses_unknown0123456789", "short"):
            query = {} if session is None else {"session": session}
            refused(await http.get(path, params=query), 404, "not_found")
            refused(await http.delete(path, params=query), 404, "not_found")
        assert (await http.get(path, params={"session": SESSION})).status_code == 200
        assert (await http.delete(path, params={"session": SESSION})).status_code == 204
        refused(await http.get(path, params={"session": SESSION}), 404, "not_found")


async def test_a_foreign_session_takes_no_file() -> None:
    async with served(known=True) as (gateway, http):
        await put(http, session=SESSION, headers=ANN)
        done = await http.put("/files/x", content=b"x", params={"session": SESSION}, headers=BOB)
        refused(done, 403, "forbidden")
        assert held(gateway) == 1


@pytest.mark.parametrize(
    "id", ["x", "file_", "file_..", "file_a.b", "file_" + "x" * 200, "fil%65_x"]
)
async def test_a_text_that_is_no_id_is_not_found(id: str) -> None:
    async with served(known=True) as (_, http):
        refused(await http.get(f"/files/{id}", headers=ANN), 404, "not_found")


async def test_a_page_of_another_site_can_not_send_a_form() -> None:
    options = {"allowed_origins": ["*"]}
    async with served(options=options) as (gateway, http):
        origin = {"origin": "https://evil.example"}
        sent = {"f": ("a", b"x")}
        done = await http.post("/files", files=sent, params={"session": SESSION}, headers=origin)
        refused(done, 403, "forbidden")
        assert held(gateway) == 0
    async with served() as (_, http):
        own = {"origin": "http://testserver"}
        done = await http.post("/files", files=sent, params={"session": SESSION}, headers=own)
        assert done.status_code == 201


# A store that fails


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
