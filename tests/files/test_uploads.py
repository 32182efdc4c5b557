"""What an upload over HTTP keeps: the bytes, the name and the type of each file."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from typing import Any
from urllib.parse import quote

import pytest

from .calling import PNG, SESSION, held, put, refused, served, slices


def a_zip() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        # Without the time, which would be in the names of tests: they would differ by process.
        archive.writestr(zipfile.ZipInfo("a.txt"), "hello")
    return data.getvalue()


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
