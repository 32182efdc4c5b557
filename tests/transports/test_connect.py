"""The in-process test client behaves like a server and a client over a network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import mount_agent_gateway
from agentws.client.transport import Opening, TransportClosed
from agentws.testing.agents import Gate, Script
from agentws.testing.connect import Client, Closed, Refused, connect, kind, running
from agentws.testing.line_transport import open_transport


async def test_a_test_client_has_a_conversation() -> None:
    app = Starlette()
    mount_agent_gateway(app, Script("Hello ", "world"))
    async with running(app), connect(app) as client:
        welcome = await client.receive()
        assert (welcome["type"], welcome["resume"]) == ("welcome", "new")
        assert client.line.subprotocol == "agentws.v1"
        accepted = await client.say("Hi", "m1")
        assert kind(accepted) == "accepted"
        assert await client.answer() == "Hello world"


async def test_a_dropped_test_client_reconnects_and_resumes() -> None:
    app, gate = Starlette(), Gate()
    mount_agent_gateway(app, Script("Hello ", gate, "world"))
    async with running(app), connect(app) as client:
        await client.say("Hi", "m1")
        await client.until("TEXT_MESSAGE_CONTENT")
        client.drop()
        with pytest.raises(Closed):
            await client.send("too late")
        gate.open()
        await client.reconnect()
        assert (await client.receive())["resume"] == "replay"
        assert await client.answer() == "world"


async def test_a_paused_test_client_makes_the_app_wait() -> None:
    app, gate = Starlette(), Gate()
    mount_agent_gateway(app, Script(gate, "one ", "two"))
    async with running(app), connect(app) as client:
        await client.say("Hi", "m1")
        await client.settle()
        client.pause()
        gate.open()
        await asyncio.sleep(1)
        assert client.line.blocked == 1
        assert client.line.waiting() == []
        client.resume()
        assert await client.answer() == "one two"


async def test_the_python_client_runs_over_an_in_process_transport() -> None:
    app = Starlette()
    mount_agent_gateway(app, Script("Hello"))
    async with running(app):
        transport = await open_transport(app)(Opening(session="s" * 20))
        assert '"session":"ssssssssssssssssssss"' in str(await transport.recv())
        await transport.send('{"type":"ping","id":"p"}')
        assert str(await transport.recv()) == '{"type":"pong","reply":"p"}'
        await transport.close()
        with pytest.raises(TransportClosed):
            await transport.recv()


async def test_a_refused_handshake_raises_with_status_and_body() -> None:
    app = Starlette()
    mount_agent_gateway(app, Script("Hello"))
    async with running(app):
        with pytest.raises(Refused) as refused:
            async with connect(app, headers={"origin": "https://evil.example"}):
                pass
    assert refused.value.status == 403
    assert b'"forbidden"' in refused.value.body


WAITS: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "receive": lambda client: client.receive(within=5.0),
    "until": lambda client: client.until("RUN_FINISHED", within=5.0),
    "answer": lambda client: client.answer(within=5.0),
    "wait_closed": lambda client: client.wait_closed(within=5.0),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
async def test_a_wait_that_times_out_names_the_frames_that_came(
    wait: Callable[[Client], Awaitable[Any]],
) -> None:
    app, gate = Starlette(), Gate()
    mount_agent_gateway(app, Script("Hello ", gate))
    async with running(app), connect(app) as client:
        await client.say("Hi", "m1")
        if wait is WAITS["receive"]:
            await client.until("TEXT_MESSAGE_CONTENT")
        with pytest.raises(AssertionError, match=r"within 5.0 s.*'delta': 'Hello '"):
            await wait(client)
        gate.open()


async def test_a_wait_for_an_agent_times_out() -> None:
    with pytest.raises(AssertionError, match=r"gate within 5.0 s"):
        await Gate().reached(within=5.0)


def others() -> set[asyncio.Task[Any]]:
    """The tasks beside the test's own."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def test_a_test_that_fails_leaves_no_app_behind() -> None:
    app, gate = Starlette(), Gate()
    mount_agent_gateway(app, Script("Hello ", gate))
    before = others()
    with pytest.raises(ZeroDivisionError):
        async with running(app), connect(app) as client:
            await client.say("Hi", "m1")
            await gate.reached()
            raise ZeroDivisionError
    assert others() == before


class Stubborn:
    """An app that is slow to accept, and slow to end when it is cancelled."""

    def __init__(self, *, accepts: bool) -> None:
        self.accepts = accepts
        self.ended = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            if self.accepts:
                await send({"type": "websocket.accept"})
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1.0)
            self.ended = True


async def test_an_app_that_does_not_accept_is_ended() -> None:
    app, before = Stubborn(accepts=False), others()
    with pytest.raises(AssertionError, match="neither accepted nor refused within 10"):
        await Client(app).open()
    assert app.ended and others() == before


async def test_an_app_that_does_not_return_is_ended() -> None:
    app, before = Stubborn(accepts=True), others()
    client = await Client(app).open()
    with pytest.raises(AssertionError, match="did not end within 10"):
        await client.aclose()
    assert app.ended and others() == before


async def test_an_app_that_does_not_start_is_ended() -> None:
    app, before = Stubborn(accepts=False), others()
    with pytest.raises(AssertionError, match="startup took more than 10"):
        async with running(app):
            pass
    assert app.ended and others() == before
