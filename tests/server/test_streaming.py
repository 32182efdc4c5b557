"""A shutdown does not wait for an event stream; it waits for any other response."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import uvicorn

from agentws.server import server_config
from agentws.server.streaming import EXTENSION
from agentws.server.strict_h11 import PresetH11Protocol
from agentws.server.upgrading import PresetHttpToolsProtocol


class Streams:
    """Sends one word, then waits for its peer to disconnect (``/unbounded``) or for ``may_end``."""

    def __init__(self) -> None:
        self.gone = threading.Event()
        self.may_end = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        unbounded = scope["path"] == "/unbounded"
        scope["extensions"][EXTENSION]["unbounded"] = unbounded
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"word", "more_body": True})
        if unbounded:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.gone.set()
        else:
            await self.may_end.wait()
            await send({"type": "http.response.body", "body": b" end"})


class Running:
    def __init__(self, http: Any) -> None:
        self.app = Streams()
        options = {"http": http, "lifespan": "off", "log_config": None}
        self.server = uvicorn.Server(server_config(self.app, port=0, **options))
        self.loop: asyncio.AbstractEventLoop
        self._started = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self._started.wait(10)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def _run(self) -> None:
        startup = self.server.startup

        async def reporting(sockets: Any = None) -> None:
            await startup(sockets=sockets)
            self.loop = asyncio.get_running_loop()
            self._started.set()

        self.server.startup = reporting  # type: ignore[method-assign]
        self.server.run()


@pytest.fixture(params=[PresetHttpToolsProtocol, PresetH11Protocol])
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    running = Running(request.param)
    yield running
    running.server.should_exit = True
    running.thread.join(20)
    assert not running.thread.is_alive()


def test_a_shutdown_ends_an_unbounded_response(running: Running) -> None:
    with httpx2.stream("GET", f"{running.url}/unbounded") as response:
        words = response.iter_raw()
        assert next(words) == b"word"
        running.server.should_exit = True
        assert running.app.gone.wait(10)
        with pytest.raises(httpx2.RemoteProtocolError):
            next(words)
    running.thread.join(10)
    assert not running.thread.is_alive()


def test_a_shutdown_waits_for_any_other_response(running: Running) -> None:
    with httpx2.stream("GET", f"{running.url}/finite") as response:
        words = response.iter_raw()
        assert next(words) == b"word"
        running.server.should_exit = True
        running.loop.call_soon_threadsafe(running.app.may_end.set)
        assert b"".join(words) == b" end"
