"""Clients of a cluster, over real sockets. Each records what it reads, for the later checks."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from agentws.client import Chat, Timing
from agentws.client.transport import Opening, Transport
from agentws.client.websocket import open_websocket
from agentws.testing.connect import Frame, kind
from agentws.testing.history import ClientHistory, frames_of, recording

NATIVE = Subprotocol("agentws.v1")
WITHIN = 30.0
FAST = Timing(opening=3.0, answer=0.5, stable=1.0, base=0.05, cap=0.5)
"""Gives up a connection soon, also one that only gets no core for a moment."""
PATIENT = FAST._replace(opening=10.0, answer=2.0)


class Native:
    """A client of the native wire that does only what it is told, over one connection at a time."""

    def __init__(self, session: str, name: str = "native") -> None:
        self.session = session
        self.history = ClientHistory(name)
        self.position: str | None = None
        self._runs: dict[str, str] = {}
        """The newest run that answers each message."""
        self._ends: dict[str, Frame] = {}
        """The terminal event of each run."""
        self._unread: deque[Frame] = deque()
        self._websocket: ClientConnection | None = None

    @asynccontextmanager
    async def at(self, host: str) -> AsyncIterator[Native]:
        """One connection to ``HOST:PORT``, resumed from the last position that was read."""
        after = {} if self.position is None else {"after": self.position}
        query = urlencode({"session": self.session, **after})
        self._unread.clear()
        url = f"ws://{host}/ws/chat?{query}"
        async with connect(
            url,
            subprotocols=[NATIVE],
            compression=None,
            ping_interval=None,
            open_timeout=WITHIN,
            close_timeout=0.2,
        ) as self._websocket:
            yield self

    async def send(self, **frame: Any) -> None:
        assert self._websocket is not None
        text = json.dumps(frame)
        self.history.wrote(text)
        await self._websocket.send(text)

    async def say(self, id: str, content: str, **members: Any) -> Frame:
        """Sends a message; returns its acknowledgement, or the error."""
        await self.send(type="send", id=id, content=content, **members)
        return await self.reply(id)

    async def reply(self, id: str) -> Frame:
        """Reads up to the reply to the frame ``id``."""
        async with asyncio.timeout(WITHIN):
            while (frame := await self.receive()).get("reply") != id:
                pass
        return frame

    async def receive(self) -> Frame:
        assert self._websocket is not None
        while not self._unread:
            self._unread.extend(frames_of(await self._websocket.recv()))
        frame = self._unread.popleft()
        self.history.frames.append(frame)
        if "event" in frame:
            self.position = frame["id"]
            self._note_run(frame)
        return frame

    def _note_run(self, frame: Frame) -> None:
        match kind(frame):
            case "RUN_STARTED":
                asked = frame["event"].get("input", {}).get("messages", ())
                self._runs.update((one["id"], frame["run"]) for one in asked)
            case "RUN_FINISHED" | "RUN_ERROR":
                self._ends[frame["run"]] = frame
            case _:
                pass

    async def until(self, wanted: str, within: float = WITHIN) -> Frame:
        async with asyncio.timeout(within):
            while kind(frame := await self.receive()) != wanted:
                pass
        return frame

    async def first_piece(self) -> Frame:
        """Reads up to the first text of an answer, which may have been read already: a run may
        begin before the acknowledgement of its message arrives.
        """
        for frame in self.history.frames:
            if kind(frame) == "TEXT_MESSAGE_CONTENT":
                return frame
        return await self.until("TEXT_MESSAGE_CONTENT")

    async def until_ended(self, message: str) -> Frame:
        """Reads up to the end of the run that answers ``message``; returns its terminal event.

        That may have been read already: a run may begin, and end, before the acknowledgement of
        its message arrives. An attempt that another one follows is not the end.
        """
        async with asyncio.timeout(WITHIN):
            while (end := self._end_of(message)) is None:
                await self.receive()
        return end

    def _end_of(self, message: str) -> Frame | None:
        end = self._ends.get(self._runs.get(message, ""))
        told = {} if end is None else end["event"].get("metadata", {}).get("agentws", {})
        return None if "nextAttempt" in told else end

    async def until_gone(self) -> int:
        """Reads until the connection closes; returns the close code, 1006 if there was none."""
        with pytest.raises(ConnectionClosed) as closed:
            await self.until("nothing that ever comes")
        return 1006 if closed.value.rcvd is None else closed.value.rcvd.code


def chat(url: str, session: str, history: ClientHistory) -> Chat:
    """The Python client, recorded, with short pauses between two connections."""

    async def open_transport(opening: Opening) -> Transport:
        return await open_websocket(url, opening, proxy=None)

    return Chat(recording(open_transport, history), session=session, timing=PATIENT)
