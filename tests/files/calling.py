"""A running gateway with files, and the calls that tests make of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from starlette.applications import Starlette

from agentws import AgentGateway, BearerKeys, MemoryFileStore, mount_agent_gateway
from agentws.files import FileStore
from agentws.testing import Script, running
from agentws.testing.contract_base import eventually
from tests.http.calling import client
from tests.limits import limits

SESSION = "ses_0123456789abcdef"
OTHER = "ses_fedcba9876543210"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(100)
ANN, BOB = {"authorization": "Bearer ann-key"}, {"authorization": "Bearer bob-key"}
KEYS = BearerKeys({"ann-key": "ann", "bob-key": "bob"})


@asynccontextmanager
async def served(
    agent: Any = None,
    *,
    files: FileStore | None = None,
    known: bool = False,
    options: dict[str, Any] | None = None,
    **changes: Any,
) -> AsyncIterator[tuple[AgentGateway, httpx2.AsyncClient]]:
    """A gateway with a file store; ``known``: with the identities ann and bob."""
    app = Starlette()
    gateway = mount_agent_gateway(
        app,
        agent or Script(),
        files=files or MemoryFileStore(),
        authenticate=KEYS if known else None,
        limits=limits(**changes),
        **(options or {}),
    )
    async with running(gateway), client(gateway) as http:
        yield gateway, http


async def put(
    http: httpx2.AsyncClient,
    data: Any = b"Hello",
    *,
    name: str = "hello.txt",
    session: str | None = SESSION,
    headers: dict[str, str] | None = None,
) -> Any:
    """Uploads and returns what the route answers about the file."""
    query = {} if session is None else {"session": session}
    done = await http.put(f"/files/{name}", content=data, params=query, headers=headers)
    assert done.status_code == 201, done.text
    return done.json()


async def slices(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def refused(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The error of a refused request, of that status and code."""
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    return body


def held(gateway: AgentGateway) -> int:
    """How many files the gateway's memory store has."""
    assert gateway.files is not None
    store = gateway.files.store
    assert isinstance(store, MemoryFileStore)
    return len(store._files)


async def until_held(gateway: AgentGateway, count: int) -> None:
    """Returns when the gateway's memory store has so many files."""

    async def reached() -> bool:
        return held(gateway) == count

    await eventually(reached)


async def send(http: Any, *, session: str = SESSION, headers: Any = None, **body: Any) -> Any:
    body = {"id": "m1", "content": "Look", **body}
    return await http.post(f"/sessions/{session}/messages", json=body, headers=headers)


async def conversation(http: Any, *, headers: Any = None) -> list[dict[str, Any]]:
    """The messages when nothing is open any more."""
    async with asyncio.timeout(10):
        while True:
            state = (await http.get(f"/sessions/{SESSION}", headers=headers)).json()
            if not state["running"]:
                break
            await asyncio.sleep(0.01)
    messages = (await http.get(f"/sessions/{SESSION}/messages", headers=headers)).json()["messages"]
    assert isinstance(messages, list)
    return messages
