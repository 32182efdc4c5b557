"""The gateway's lifespan nested in that of a wrapped host (no Starlette app), and the drain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from agentws import AgentGateway, mount_agent_gateway
from agentws.errors import Misconfigured
from agentws.hosting.lifespan import DRAINS
from agentws.hosting.wrapped import SHUTDOWN, STARTUP
from agentws.testing.agents import Script
from agentws.testing.connect import running

Host = Callable[[Any, Any, Any], Awaitable[None]]
UP, DOWN = f"{STARTUP}.complete", f"{SHUTDOWN}.complete"


class Lifespan:
    """The server's side of an app's lifespan; ``sent`` has the messages that the app sent."""

    def __init__(self, app: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self._app = app
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task: asyncio.Task[None]

    def begin(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        app = self._app(scope, self._messages.get, self._send)
        self.task = asyncio.get_running_loop().create_task(app)

    async def _send(self, message: dict[str, Any]) -> None:
        assert message["type"].startswith("lifespan."), "servers refuse other messages"
        self.sent.append(message)
        self._answers.put_nowait(message)

    async def answer_to(self, kind: str) -> str:
        self._messages.put_nowait({"type": kind})
        async with asyncio.timeout(10):
            return str((await self._answers.get())["type"])

    async def ended(self) -> None:
        async with asyncio.timeout(10):
            await self.task


def mounted(host: Host) -> tuple[AgentGateway, Lifespan]:
    gateway = mount_agent_gateway(host, Script("fine"))
    lifespan = Lifespan(gateway)
    lifespan.begin()
    return gateway, lifespan


# Hosts


async def refusing(scope: Any, receive: Any, send: Any) -> None:
    """Like Django: raises for every scope that is not HTTP."""
    raise ValueError(f"this host can't handle {scope['type']}")


async def reading_and_refusing(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    raise KeyError("method")


async def answering_as_for_http(scope: Any, receive: Any, send: Any) -> None:
    """Answers every scope as if it were HTTP."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def reading_and_answering_as_for_http(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await answering_as_for_http(scope, receive, send)


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """Returns without an answer."""


async def reading_and_silent(scope: Any, receive: Any, send: Any) -> None:
    await receive()


async def obedient(scope: Any, receive: Any, send: Any) -> None:
    for _ in range(2):
        message = await receive()
        await send({"type": f"{message['type']}.complete"})


async def returning_early(scope: Any, receive: Any, send: Any) -> None:
    """Returns after the startup, without waiting for the shutdown."""
    await receive()
    await send({"type": UP})


async def failing_later(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": UP})
    raise RuntimeError("as ordered")


async def leaving_in_silence(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": UP})
    await receive()


EVERY = [
    refusing,
    reading_and_refusing,
    answering_as_for_http,
    reading_and_answering_as_for_http,
    silent,
    reading_and_silent,
    obedient,
    returning_early,
    failing_later,
    leaving_in_silence,
]


@pytest.mark.parametrize("host", EVERY, ids=lambda host: host.__name__)
async def test_the_gateway_runs_until_the_server_shuts_down_whatever_the_hosts_lifespan_does(
    host: Host,
) -> None:
    gateway, lifespan = mounted(host)
    assert await lifespan.answer_to(STARTUP) == UP
    assert gateway.started
    await asyncio.sleep(0)
    assert not lifespan.task.done() and not gateway.draining
    assert await lifespan.answer_to(SHUTDOWN) == DOWN
    assert gateway.draining and not gateway.started
    await lifespan.ended()
    assert [message["type"] for message in lifespan.sent] == [UP, DOWN]


@pytest.mark.parametrize("host", EVERY, ids=lambda host: host.__name__)
async def test_a_gateway_that_fails_to_start_fails_the_startup(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, lifespan = mounted(host)

    async def refuse() -> None:
        raise Misconfigured("no store today")

    monkeypatch.setattr(gateway.store, "open", refuse)
    assert await lifespan.answer_to(STARTUP) == f"{STARTUP}.failed"
    await lifespan.ended()
    (sent,) = lifespan.sent
    assert sent["message"] == "agentws can't start: no store today" and not gateway.started


async def test_a_started_host_is_shut_down_when_the_gateway_fails_to_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    received: list[str] = []

    async def host(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            message = await receive()
            received.append(message["type"])
            await send({"type": f"{message['type']}.complete"})

    gateway, lifespan = mounted(host)

    async def refuse() -> None:
        raise Misconfigured("no store today")

    monkeypatch.setattr(gateway.store, "open", refuse)
    assert await lifespan.answer_to(STARTUP) == f"{STARTUP}.failed"
    assert received == [STARTUP, SHUTDOWN]


async def test_the_gateway_does_not_start_when_the_host_fails_to_start() -> None:
    async def host(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": f"{STARTUP}.failed", "message": "no"})
        raise RuntimeError("no")

    gateway, lifespan = mounted(host)
    assert await lifespan.answer_to(STARTUP) == f"{STARTUP}.failed"
    with pytest.raises(RuntimeError):
        await lifespan.ended()
    assert not gateway.started and not gateway.draining


async def test_the_host_still_shuts_down_when_the_gateway_fails_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway, lifespan = mounted(obedient)
    assert await lifespan.answer_to(STARTUP) == UP

    async def refuse() -> None:
        raise OSError("as ordered")

    monkeypatch.setattr(gateway.store, "close", refuse)
    assert await lifespan.answer_to(SHUTDOWN) == f"{SHUTDOWN}.failed"
    assert "as ordered" in lifespan.sent[-1]["message"]
    await lifespan.ended()


@pytest.mark.parametrize("host", [refusing, obedient], ids=lambda host: host.__name__)
async def test_a_wrapped_host_can_be_started_and_stopped_several_times(host: Host) -> None:
    gateway = mount_agent_gateway(host, Script("fine"))
    for _ in range(2):
        async with running(gateway):
            assert gateway.started and not gateway.draining
        assert gateway.draining


def test_mounting_none_as_agent_factory_raises_type_error() -> None:
    app = Starlette()
    with pytest.raises(TypeError, match="agent_factory is None; expected an agent"):
        mount_agent_gateway(app, None)  # type: ignore[arg-type]
    assert app.routes == []


# Drain before the server closes its connections


@pytest.mark.parametrize("host", [refusing, Starlette()], ids=["wrapped", "starlette"])
async def test_the_gateway_registers_its_drain_with_a_server_that_has_a_list_for_it(
    host: Any,
) -> None:
    gateway = mount_agent_gateway(host, Script("fine"))
    drains: list[Any] = []
    sent: asyncio.Queue[Any] = asyncio.Queue()
    given: asyncio.Queue[Any] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {DRAINS: drains}}
    task = asyncio.create_task(gateway(scope, given.get, sent.put))
    given.put_nowait({"type": STARTUP})
    assert (await sent.get())["type"] == UP
    (drain,) = drains
    await drain()
    assert gateway.draining and gateway.started
    given.put_nowait({"type": SHUTDOWN})
    assert (await sent.get())["type"] == DOWN
    await task


async def test_every_gateway_of_an_app_registers_its_drain() -> None:
    app = Starlette()
    gateways = [mount_agent_gateway(app, Script("x"), prefix=prefix) for prefix in ("/a", "/b")]
    drains: list[Any] = []
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {DRAINS: drains}, "app": app}
    messages = [{"type": STARTUP}, {"type": SHUTDOWN}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        """Drops the message."""

    await app.router(scope, receive, send)
    assert {drain.__self__ for drain in drains} == set(gateways)


def test_the_lifespan_state_is_unchanged_for_other_servers() -> None:
    app = Starlette()
    mount_agent_gateway(app, Script("fine"))
    with TestClient(app) as http:
        assert http.get("/livez").status_code == 200
        assert DRAINS not in http.app_state
