"""The in-process client itself: what a server would do, it does."""

from __future__ import annotations

import asyncio

import pytest
from starlette.applications import Starlette

from agentws import mount_agent_gateway
from agentws.client.transport import Opening, TransportClosed
from agentws.testing.agents import Gate, Script
from agentws.testing.connect import Closed, Refused, connect, kind, open_transport, running


async def test_a_conversation() -> None:
    app = Starlette()
    mount_agent_gateway(app, Script("Hello ", "world"))
    async with running(app), connect(app) as client:
        welcome = await client.receive()
        assert (welcome["type"], welcome["resume"]) == ("welcome", "new")
        assert client.line.subprotocol == "agentws.v1"
        accepted = await client.say("Hi", "m1")
        assert kind(accepted) == "accepted"
        assert await client.answer() == "Hello world"


async def test_the_cable_is_pulled_and_the_client_comes_back() -> None:
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


async def test_a_paused_client_makes_the_app_wait() -> None:
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


async def test_a_transport_for_the_python_client() -> None:
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


async def test_a_refused_handshake_says_why() -> None:
    app = Starlette()
    mount_agent_gateway(app, Script("Hello"))
    async with running(app):
        with pytest.raises(Refused) as refused:
            async with connect(app, headers={"origin": "https://evil.example"}):
                pass
    assert refused.value.status == 403
    assert b'"forbidden"' in refused.value.body
