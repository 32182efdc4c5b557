"""Downloads over HTTP, in process: ranges, validators, and headers against scripts."""

from __future__ import annotations

import httpx2
import pytest

from .calling import PNG, SESSION, put, served


async def get(http: httpx2.AsyncClient, id: str, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await http.get(f"/files/{id}", params={"session": SESSION}, headers=named)


@pytest.mark.parametrize(
    ("given", "status", "part"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=4-", 206, b"456789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-100", 206, b"0123456789"),
        ("bytes=0-100", 206, b"0123456789"),
        ("bytes=0-", 206, b"0123456789"),
        ("bytes=8-100", 206, b"89"),
        ("BYTES=0-0", 206, b"0"),
        ("bytes=10-", 416, b""),
        ("bytes=-0", 416, b""),
        ("bytes=5-3", 200, b"0123456789"),
        ("bytes=0-1,3-4", 200, b"0123456789"),
        ("bytes=-", 200, b"0123456789"),
        ("lines=0-1", 200, b"0123456789"),
        ("bytes=" + "9" * 100 + "-", 200, b"0123456789"),
    ],
)
async def test_a_part_of_a_file_is_served(given: str, status: int, part: bytes) -> None:
    async with served() as (_, http):
        id = (await put(http, b"0123456789"))["id"]
        got = await get(http, id, range=given)
        assert (got.status_code, got.content) == (status, part)
        assert got.headers["content-length"] == str(len(part))
        if status == 206:
            start = b"0123456789".index(part)
            end = start + len(part) - 1
            assert got.headers["content-range"] == f"bytes {start}-{end}/10"
        if status == 416:
            assert got.headers["content-range"] == "bytes */10"


@pytest.mark.parametrize(
    ("given", "status"), [("bytes=0-", 416), ("bytes=-0", 416), ("bytes=-5", 200), ("", 200)]
)
async def test_an_empty_file_has_no_part(given: str, status: int) -> None:
    async with served() as (_, http):
        got = await get(http, (await put(http, b""))["id"], range=given)
        assert (got.status_code, got.content) == (status, b"")
        assert got.headers.get("content-range") == ("bytes */0" if status == 416 else None)


async def test_a_validator_says_whether_the_client_has_the_file() -> None:
    async with served() as (_, http):
        id = (await put(http, b"0123456789"))["id"]
        tag = (await get(http, id)).headers["etag"]
        fresh = await get(http, id, if_none_match=f'"other", W/{tag}')
        assert (fresh.status_code, fresh.content) == (304, b"")
        assert (await get(http, id, if_none_match='"other"')).status_code == 200
        assert (await get(http, id, range="bytes=0-1", if_range=tag)).status_code == 206
        assert (await get(http, id, range="bytes=0-1", if_range='"other"')).status_code == 200


async def test_a_head_request_is_answered_without_the_content() -> None:
    async with served() as (_, http):
        id = (await put(http, b"0123456789"))["id"]
        got = await http.head(f"/files/{id}", params={"session": SESSION})
        assert (got.status_code, got.content, got.headers["content-length"]) == (200, b"", "10")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (b"text", "text/plain"),
        (b"%PDF-1.7\n" + bytes(50), "application/pdf"),
        (b"<!DOCTYPE html><script>alert(1)</script>", "application/octet-stream"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "application/octet-stream"),
        (b"<?xml version='1.0'?><x/>", "application/octet-stream"),
    ],
)
async def test_no_browser_runs_what_was_uploaded(data: bytes, kind: str) -> None:
    async with served() as (_, http):
        got = await get(http, (await put(http, data, name="x"))["id"])
        headers = got.headers
        assert headers["content-type"].partition(";")[0] == kind
        assert headers["content-disposition"].startswith("attachment;")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert headers["cache-control"] == "private, no-cache"
