"""Two gateways over one folder, and uploads that stall."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette

from agentws import DiskFileStore, MemoryStore, mount_agent_gateway
from agentws.testing import Script, connect, running
from agentws.transports import uploading
from tests.client.serving import listening
from tests.http.calling import client
from tests.limits import limits

from .calling import SESSION, held, put, refused, served


async def test_a_file_of_one_node_is_used_and_deleted_on_another(tmp_path: Path) -> None:
    store = MemoryStore()
    async with AsyncExitStack() as stack:
        nodes: list[httpx2.AsyncClient] = []
        for _ in range(2):
            gateway = mount_agent_gateway(
                Starlette(), Script(), store=store, files=DiskFileStore(tmp_path), limits=limits()
            )
            await stack.enter_async_context(running(gateway))
            nodes.append(await stack.enter_async_context(client(gateway)))
        one, two = nodes
        file = await put(one, b"x" * 500_000)
        path, query = f"/files/{file['id']}", {"session": SESSION}
        assert (await two.get(path, params=query)).content == b"x" * 500_000
        body = {"id": "m1", "content": "Look", "attachments": [file["id"]]}
        assert (await two.post(f"/sessions/{SESSION}/messages", json=body)).status_code == 202
        assert (await one.delete(f"/sessions/{SESSION}")).status_code == 204
        refused(await two.get(path, params=query), 404, "not_found")
        assert list((tmp_path / "data").iterdir()) == []


async def stalled() -> AsyncIterator[bytes]:
    yield b"begin"
    await asyncio.Event().wait()


async def dripping() -> AsyncIterator[bytes]:
    while True:
        yield b"x"
        await asyncio.sleep(0.001)


async def test_an_upload_without_a_byte_for_too_long_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uploading, "BODY_TIMEOUT", 0.05)
    async with served() as (gateway, http):
        done = await http.put("/files/x", content=stalled(), params={"session": SESSION})
        refused(done, 408, "timed_out")
        assert held(gateway) == 0


async def test_an_upload_that_takes_too_long_is_given_up_though_bytes_arrive() -> None:
    async with served(upload_timeout=0.1) as (gateway, http):
        done = await http.put("/files/x", content=dripping(), params={"session": SESSION})
        refused(done, 408, "timed_out")
        assert held(gateway) == 0


async def test_an_upload_of_a_draining_gateway_is_refused() -> None:
    async with served() as (gateway, http):
        await gateway.drain()
        done = await http.put("/files/x", content=b"x", params={"session": SESSION})
        refused(done, 503, "draining")


@pytest.mark.parametrize("parser", ["h11", "httptools"])
@pytest.mark.parametrize("expects", [True, False])
async def test_a_refusal_arrives_whole_on_stock_uvicorn(parser: str, expects: bool) -> None:
    async with served() as (gateway, _):
        app = gateway.app
        assert app is not None
        config = uvicorn.Config(app, http=parser, log_config=None, lifespan="off")
        async with listening(config) as host:
            name, _, port = host.partition(":")
            reader, writer = await asyncio.open_connection(name, int(port))
            go_ahead = "Expect: 100-continue\r\n" if expects else ""
            writer.write(
                f"PUT /files/x?session={SESSION} HTTP/1.1\r\nHost: {host}\r\n{go_ahead}"
                "Content-Length: 2000000000\r\n\r\n".encode()
            )
            if not expects:
                writer.write(bytes(3_000_000))
            data = await asyncio.wait_for(reader.read(), 10)
            writer.close()
    assert data.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in data.lower()
    assert data.endswith(b"}") and b'"too_large"' in data


async def test_a_message_with_files_is_acknowledged_like_any_other() -> None:
    async with served() as (gateway, http):
        files = [(await put(http))["id"] for _ in range(3)]
        async with connect(gateway, f"/ws/chat?session={SESSION}") as client:
            for number, id in enumerate(files):
                frame = {"type": "send", "id": f"m{number}", "content": "a", "attachments": [id]}
                await client.send(frame)
            replies = [(await client.until("accepted"))["reply"] for _ in files]
            assert replies == ["m0", "m1", "m2"]
