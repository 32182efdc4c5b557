"""What a client sends can't forge a line of the log, nor control the terminal that shows it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from starlette.applications import Starlette

from agentws import (
    Agent,
    AgentError,
    MemoryFileStore,
    RunContext,
    mount_agent_gateway,
)
from agentws.testing.connect import Closed, Refused, connect, running
from tests.http.calling import SESSION, client

FORGED = "x\r\nERROR: forged\x1b[31m\u2028\x85y"
CONTROLS = ("\r", "\n", "\x1b", "\u2028", "\x85")


class Repeating(Agent):
    """Fails with what the user said."""

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        yield "begun"
        raise (AgentError(ctx.text) if "known" in ctx.text else RuntimeError(ctx.text))


FRAMES: list[Any] = [
    {"type": FORGED, "id": "1"},
    {"type": "send", "id": FORGED, "content": "hello"},
    {"type": "send", "id": "s1", "content": FORGED},
    {"type": "send", "id": "s2", "content": "known " + FORGED},
    {"type": "send", "id": "s3", "content": "x", "agent": FORGED, "metadata": {FORGED: FORGED}},
    {"type": "send", "id": "s4", "content": "x", "attachments": [FORGED]},
    {"type": "command", "id": "c1", "name": FORGED, "args": FORGED},
    {"type": "cancel", "id": "c2", "run": FORGED},
    {"type": "answer", "id": "a1", "interrupt": FORGED},
    {"type": "withdraw", "id": "w1", "message": FORGED},
    {"type": "subscribe", "id": "t1", "topic": FORGED},
    {"type": "switch", "id": "b1", "branch": FORGED},
    {"type": "state", "id": "p1", "patch": [{"op": "add", "path": FORGED, "value": FORGED}]},
    FORGED,
]


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The message of every record; a traceback is many lines of its own accord."""
    return [record.getMessage() for record in caplog.records]


def forged(texts: list[str]) -> list[str]:
    return [text for text in texts if any(one in text for one in CONTROLS)]


async def test_no_frame_of_a_client_forges_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    gateway = mount_agent_gateway(Starlette(), Repeating, files=MemoryFileStore())
    async with running(gateway):
        for frame in FRAMES:
            async with connect(gateway) as one:
                await one.send(frame)
                await one.settle()
                await asyncio.sleep(0.05)
                await one.settle()
    assert lines(caplog), "nothing was logged: the test would show nothing"
    assert forged(lines(caplog)) == []


async def test_no_handshake_forges_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    gateway = mount_agent_gateway(
        Starlette(), Repeating, authenticate=lambda connection: connection.headers["who"]
    )
    text = quote(FORGED)
    urls = [f"/ws/chat?{name}={text}" for name in ("session", "after", "agent", "stream", FORGED)]
    async with running(gateway):
        for url in urls:
            for headers in ({}, {"who": "x"}, {"who": "x", "origin": "x\x1b[31m"}):
                try:
                    async with connect(gateway, url, headers=headers) as one:
                        await one.settle()
                except (Refused, Closed):
                    pass
    assert forged(lines(caplog)) == []


async def test_no_request_forges_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    gateway = mount_agent_gateway(
        Starlette(), Repeating, files=MemoryFileStore(), admin_key="the key"
    )
    text = quote(FORGED)
    async with running(gateway):
        http = client(gateway)
        for path in (
            f"/sessions/{text}",
            f"/sessions/{SESSION}/events?after={text}",
            f"/sessions?query={text}&before={text}",
            f"/files/{text}",
            f"/topics/{text}/events",
            f"/{text}",
        ):
            await http.get(path)
        await http.put(f"/files/{text}?session={SESSION}", content=b"hello")
        await http.post(f"/sessions/{SESSION}/push", json={"content": FORGED})
        body = {"id": "m1", "content": FORGED, "agent": FORGED}
        await http.post(f"/sessions/{SESSION}/messages", json=body)
        await http.post("/ask", json={"content": FORGED})
    # httpx logs what it has sent itself.
    ours = [one for one in caplog.records if not one.name.startswith("httpx")]
    assert forged([one.getMessage() for one in ours]) == []
