"""Clients that follow a session, on whichever node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from ..servers.clients import GatewayClient
from ..servers.process import ServerProcess

POLL_SECONDS = 0.02


class Viewer(GatewayClient):
    """Notes when it received each delta, and how the run ended."""

    def __init__(self) -> None:
        super().__init__()
        self.received: dict[str, float] = {}
        """The times, by the ids of the events."""
        self.error = ""
        """The code of the error that ended the run."""

    def message(self, payload: bytes) -> None:
        now = time.perf_counter()
        frames: Any = self._decode(payload)
        for frame in frames if isinstance(frames, list) else (frames,):
            if "event" in frame:
                self._note(frame["id"], frame["event"], now)
            elif frame["type"] == "welcome":
                self.session = frame["session"]
                self._finish(self._opened)

    def _note(self, position: str, event: dict[str, Any], now: float) -> None:
        match event["type"]:
            case "TEXT_MESSAGE_CONTENT":
                self.received[position] = now
            case "RUN_FINISHED":
                self._finish(self._answered)
            case "RUN_ERROR":
                self.error = event["code"]
                self._finish(self._answered)


async def open_viewers(node: ServerProcess, sessions: Sequence[str]) -> list[Viewer]:
    """One viewer for each of these sessions; ``""`` is a new one."""
    viewers = [Viewer() for _ in sessions]
    queries = [f"?session={session}" if session else "" for session in sessions]
    await asyncio.gather(
        *(each.open(node.port, query) for each, query in zip(viewers, queries, strict=True))
    )
    return viewers


async def wait_for_deltas(viewers: Sequence[Viewer], seconds: float = 30.0) -> None:
    """Returns once each has received one. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            if all(each.received for each in viewers):
                return
            await asyncio.sleep(POLL_SECONDS)


async def wait_for_nodes(node: ServerProcess, count: int, seconds: float = 30.0) -> None:
    """Returns once so many nodes share its store. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            stats = msgspec.json.decode(await node.request("GET", "/stats"))
            if stats.get("cluster", {}).get("nodes") == count:
                return
            await asyncio.sleep(POLL_SECONDS)
