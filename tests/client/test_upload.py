"""Uploads of the Python client, to a gateway on a real socket."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import Agent, BearerKeys, MemoryFileStore, RunContext, mount_agent_gateway
from agentws.client import BadProxy, ChatClosed, Disconnected, connect
from agentws.client.uploading import GatewayFiles, Upload, _blocks
from agentws.errors import NotFound, QuotaExceeded, TooLarge, UnsupportedMedia
from agentws.protocol.messages import ActivityMessage
from tests.limits import limits

from .serving import listening, plain


class Reader(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        for file in ctx.attachments:
            yield f"{file.name} {file.type} {len(await file.read(limit=10_000_000))};"
        await ctx.write_file("copy.txt", "a copy")


@asynccontextmanager
async def served(*, files: bool = True, prefix: str = "", **changes: Any) -> AsyncIterator[str]:
    app = Starlette()
    mount_agent_gateway(
        app,
        Reader,
        prefix=prefix,
        files=MemoryFileStore() if files else None,
        authenticate=BearerKeys({"ann-key": "ann"}) if changes.pop("known", False) else None,
        limits=limits(**changes),
    )
    async with listening(plain(app)) as host:
        yield f"http://{host}{prefix}"


async def test_a_file_is_uploaded_and_attached(tmp_path: Path) -> None:
    path = tmp_path / "nai\u0308ve \U0001f600.txt"
    path.write_bytes(b"x" * 300_000)
    seen: list[tuple[int, int]] = []
    async with served(prefix="/assistant") as url, connect(url) as chat:
        file = await chat.upload(path, progress=lambda sent, size: seen.append((sent, size)))
        assert (file.name, file.size) == ("na\u00efve \U0001f600.txt", 300_000)
        other = await chat.upload(b"%PDF-1.7", name="a/b.pdf", type="application/pdf")
        answer = await chat.ask("Look", attachments=[file, other.id])
        assert answer == f"{file.name} text/plain 300000;b.pdf application/pdf 8;"
        assert seen[-1] == (300_000, 300_000)
        assert seen == sorted(seen) and len(seen) > 2
        shown = [one for one in chat.messages if isinstance(one, ActivityMessage)]
        assert [one.content["name"] for one in shown] == ["copy.txt"]


async def test_an_upload_has_the_credentials_of_the_chat() -> None:
    async with served(known=True) as url, connect(url, token=lambda: "ann-key") as chat:
        file = await chat.upload(b"Hello", name="a.txt")
        assert await chat.ask("Look", attachments=[file]) == "a.txt text/plain 5;"


@pytest.mark.parametrize("known", [True, False])
async def test_an_uploaded_file_is_deleted(known: bool) -> None:
    """With an identity, and without one, where the session has it."""
    token = "ann-key" if known else None
    async with served(known=known, prefix="/a") as url, connect(url, token=token) as chat:
        first = await chat.upload(b"Hello", name="a.txt")
        second = await chat.upload(b"Hello", name="b.txt")
        await chat.delete_file(first)
        with pytest.raises(NotFound, match="no such file"):
            await chat.delete_file(first.id)
        assert await chat.ask("Look", attachments=[second]) == "b.txt text/plain 5;"
        await chat.delete_file(second.id)


@pytest.mark.parametrize("id", ["", ".", "..", "../sessions", "a/b", "file_\n", "\U0001f600"])
async def test_a_file_that_can_not_exist_is_not_found(id: str) -> None:
    async with served() as url, connect(url) as chat:
        with pytest.raises(NotFound):
            await chat.delete_file(id)


async def test_a_file_of_someone_else_is_not_found() -> None:
    async with served() as url, connect(url) as chat, connect(url) as other:
        file = await chat.upload(b"Hello", name="a.txt")
        with pytest.raises(NotFound, match="no such file"):
            await other.delete_file(file)
        assert await chat.ask("Look", attachments=[file]) == "a.txt text/plain 5;"


@pytest.mark.parametrize(
    ("changes", "data", "error"),
    [
        ({"max_file_size": 4}, b"12345", TooLarge),
        ({"file_quota": 4}, b"12345", QuotaExceeded),
        ({"file_types": ("image/*",)}, b"12345", UnsupportedMedia),
    ],
)
async def test_a_refusal_is_an_exception_of_its_own(
    changes: dict[str, Any], data: bytes, error: type[Exception]
) -> None:
    async with served(**changes) as url, connect(url) as chat:
        with pytest.raises(error):
            await chat.upload(data)


async def test_a_refusal_by_the_server_arrives_before_the_body_is_sent() -> None:
    """Also without the limit that the server's ``welcome`` names."""
    async with served(max_file_size=1000) as url, connect(url) as chat:
        assert chat.welcome is not None
        files = GatewayFiles(url, headers=None, ssl_context=None, proxy=None)

        big = Upload(bytes(3_000_000), "a", None, chat.session, None, None, None)
        with pytest.raises(TooLarge):
            await files.upload(big)


async def test_a_gateway_without_files_says_so() -> None:
    async with served(files=False) as url, connect(url) as chat:
        with pytest.raises(NotFound):
            await chat.upload(b"x")


async def test_a_file_that_can_not_be_read_is_an_error_of_the_system(tmp_path: Path) -> None:
    async with served() as url, connect(url) as chat:
        with pytest.raises(FileNotFoundError):
            await chat.upload(tmp_path / "missing")


def test_a_file_that_grows_while_it_is_sent_is_sent_as_long_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"a" * 300_000)
    with path.open("rb") as file:
        blocks = _blocks(file, 300_000, lambda sent, size: None, threading.Event())
        begun = next(blocks)
        path.write_bytes(b"a" * 300_000 + b"b" * 100_000)
        assert begun + b"".join(blocks) == b"a" * 300_000


async def test_a_file_that_shrinks_while_it_is_sent_is_an_error_of_the_system(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.txt"
    path.write_text("a" * 3_000_000)
    async with served() as url, connect(url) as chat:
        with pytest.raises(OSError, match="became smaller while it was sent"):
            await chat.upload(path, progress=lambda sent, size: os.truncate(path, 100_000))
        assert await chat.ask("Look") == ""


async def test_a_name_that_is_no_valid_text_is_sent_as_what_can_be_shown() -> None:
    name = b"r\xe9sum\xe9.txt".decode(errors="surrogateescape")
    async with served() as url, connect(url) as chat:
        assert (await chat.upload(b"x", name=name)).name == "r_sum_.txt"


@pytest.mark.parametrize(
    ("proxy", "error", "said"),
    [
        ("socks5h://127.0.0.1:9", BadProxy, "The proxy given (127.0.0.1:9) is a SOCKS proxy"),
        ("http://127.0.0.1:9", Disconnected, "The proxy given (127.0.0.1:9) does not lead to"),
    ],
)
async def test_the_error_for_a_proxy_that_takes_no_files_names_it(
    proxy: str, error: type[Exception], said: str
) -> None:
    async with served() as url, connect(url) as chat:
        chat._files = GatewayFiles(url, headers=None, ssl_context=None, proxy=proxy)
        with pytest.raises(error, match=re.escape(said)):
            await chat.upload(b"x")
        with pytest.raises(error, match=re.escape(said)):
            await chat.delete_file("file_1")


async def test_an_upload_without_a_server_is_disconnected() -> None:
    async with served() as url:
        files = GatewayFiles("http://127.0.0.1:9", headers=None, ssl_context=None, proxy=None)
        async with connect(url) as chat:
            chat._files = files
            with pytest.raises(Disconnected):
                await chat.upload(b"x")
            with pytest.raises(Disconnected):
                await chat.delete_file("file_1")
        with pytest.raises(ChatClosed):
            await chat.upload(b"x")
        with pytest.raises(ChatClosed):
            await chat.delete_file("file_1")


async def test_a_cancelled_upload_stops_and_leaves_nothing() -> None:
    async with served() as url, connect(url) as chat:
        begun = asyncio.Event()
        upload = asyncio.ensure_future(
            chat.upload(bytes(9_000_000), progress=lambda sent, size: begun.set())
        )
        await begun.wait()
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        assert await chat.ask("Look") == ""
