"""A client to which a session does not belong, and that tries every way to read and to use it."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final
from urllib.parse import urlencode

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from agentws.testing.history import ClientHistory
from tests.cluster.clients import NATIVE, WITHIN

WHO: Final = {"X-User": "a stranger"}
SEND: Final = {"id": "theirs", "content": "hello"}


class Stranger:
    """Knows the id of the session, and nothing else."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.history = ClientHistory(f"the stranger in {session}")

    async def visit(self, host: str) -> None:
        """Every way once, at one node. Raises OSError or TimeoutError if the node is down."""
        async with asyncio.timeout(WITHIN):
            for subprotocols in ([NATIVE], None):
                await self._connect(host, subprotocols)
            for way in ("", "/events", "/messages"):
                await self._request(host, "GET", way)
            await self._request(host, "POST", "/messages", SEND)

    async def _connect(self, host: str, subprotocols: list[Subprotocol] | None) -> None:
        url = f"ws://{host}/ws/chat?{urlencode({'session': self.session})}"
        async with connect(
            url, subprotocols=subprotocols, additional_headers=WHO, close_timeout=0.2
        ) as websocket:
            try:
                await websocket.send(json.dumps({"type": "send", **SEND}))
                while True:
                    self.history.read(await websocket.recv())
            except ConnectionClosed:
                pass

    async def _request(self, host: str, method: str, way: str, body: Any = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        headers = {
            **WHO,
            "Host": host,
            "Accept": "application/json",
            "Content-Type": "application/json",
            "Content-Length": len(data),
            "Connection": "close",
        }
        lines = [f"{method} /sessions/{self.session}{way} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        reader, writer = await asyncio.open_connection(*host.split(":"))
        try:
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
            head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        if head:
            self.history.answered(int(head.split()[1]), answer)
