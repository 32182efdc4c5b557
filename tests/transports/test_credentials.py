"""Credentials over WebSocket: where a token may be, and what is refused."""

from __future__ import annotations

import asyncio
import base64

import pytest
from starlette.requests import HTTPConnection

from agentws.auth import bearer_token
from agentws.testing.agents import Script
from agentws.testing.connect import Client, Refused

from .callers import KEYS, end_of
from .conftest import Make


async def test_no_wire_echoes_the_token(make: Make) -> None:
    async with make(Script("fine"), authenticate=KEYS) as world:
        for native, subprotocol in ((True, "agentws.v1"), (False, None)):
            client = await world.client(token="key-a", native=native)
            assert client.line.subprotocol == subprotocol


@pytest.mark.parametrize("native", [True, False], ids=["native", "simple"])
@pytest.mark.parametrize("token", [None, "wrong", "", "key-a ", "schlussel"])
async def test_a_client_without_valid_credentials_is_refused(
    make: Make, native: bool, token: str | None
) -> None:
    script = Script("fine")
    async with make(script, authenticate=KEYS) as world:
        client = await world.client(token=token, native=native)
        assert (await end_of(client)).code == 4401
        assert "unauthenticated" in str(client.frames)
        assert client.frames[-1].get("retryable") in (False, None)
        assert script.runs == []
        for gateway in world.gateways:
            assert len(gateway.sessions) == 0


async def test_an_authorization_header_authenticates_like_a_subprotocol_entry(make: Make) -> None:
    async with make(Script("fine"), authenticate=KEYS) as world:
        client = await world.client(headers={"authorization": "Bearer key-a"})
        assert (await client.receive())["identity"] == "ann"
        client = await world.client(token="schlüssel")
        assert (await client.receive())["identity"] == "é"


@pytest.mark.parametrize("entry", ["!!!", "a", "////", "_w"])
async def test_a_token_that_is_not_base64_is_refused(make: Make, entry: str) -> None:
    async with make(Script("fine"), authenticate=KEYS) as world:
        client = await world.client(subprotocols=["agentws.v1", f"agentws.bearer.{entry}"])
        assert (await end_of(client)).code == 4401


def raising(connection: HTTPConnection) -> str:
    raise RuntimeError("the user database is at 10.0.0.7")


@pytest.mark.parametrize("native", [True, False], ids=["native", "simple"])
async def test_an_exception_in_authenticate_closes_without_internals(
    make: Make, native: bool
) -> None:
    async with make(Script("fine"), authenticate=raising) as world:
        client = await world.client(native=native)
        assert (await end_of(client)).code == 4500
        assert "10.0.0.7" not in str(client.frames)


async def test_a_token_in_the_query_is_ignored(make: Make) -> None:
    async with make(Script("fine"), authenticate=KEYS) as world:
        for name in ("token", "access_token", "key", "api_key", "authorization"):
            client = await world.client(f"{name}=key-a")
            assert (await end_of(client)).code == 4401


async def test_a_client_that_offers_only_unknown_subprotocols_is_refused(make: Make) -> None:
    async with make(Script("fine")) as world:
        with pytest.raises(Refused) as refused:
            await world.client(subprotocols=["graphql-ws", "mqtt"])
        assert refused.value.status == 400
        assert b"agentws.v1" in refused.value.body
        client = await world.client(subprotocols=["graphql-ws", "agentws.v1"])
        assert client.line.subprotocol == "agentws.v1"


@pytest.mark.parametrize("native", [True, False], ids=["native", "simple"])
async def test_guessing_keys_is_rate_limited_by_address(make: Make, native: bool) -> None:
    limits = {"message_rate": 1.0, "message_burst": 3}
    async with make(Script("fine"), authenticate=KEYS, **limits) as world:
        app = world.apps[0]

        async def code(token: str, address: str) -> int | None:
            client = await Client(app, token=token, native=native, address=address).open()
            world.clients.append(client)
            await client.settle()
            return None if client.closed is None else client.closed.code

        tried = [await code(f"key-{number}", "10.1.1.1") for number in range(5)]
        assert tried == [4401] * 3 + [4429] * 2
        assert await code("key-a", "10.1.1.1") == 4429, (
            "a client above the rate learns that the key was right"
        )
        assert await code("key-a", "10.1.1.2") is None
        await asyncio.sleep(2)
        assert await code("key-a", "10.1.1.1") is None


async def test_a_browser_with_a_token_can_choose_the_simple_wire_by_name(make: Make) -> None:
    """A browser fails a connection for which it offered subprotocols and none was chosen."""
    encoded = base64.urlsafe_b64encode(b"key-a").decode()
    async with make(Script("fine"), authenticate=KEYS) as world:
        for offered, chosen in (
            (["agentws.simple", f"agentws.bearer.{encoded}"], "agentws.simple"),
            ([f"agentws.bearer.{encoded}", "agentws.simple"], "agentws.simple"),
            (["agentws.simple", "agentws.v1", f"agentws.bearer.{encoded}"], "agentws.simple"),
            (["agentws.v1", "agentws.simple", f"agentws.bearer.{encoded}"], "agentws.v1"),
        ):
            client = await world.client(subprotocols=offered)
            assert client.line.subprotocol == chosen
            if chosen == "agentws.simple":
                await client.send("Hello")
                assert (await client.receive())["content"] == "fine"
        refused = await world.client(subprotocols=["agentws.simple", "agentws.bearer.AAAA"])
        assert refused.line.subprotocol == "agentws.simple"
        assert (await end_of(refused)).code == 4401


def test_a_token_is_read_from_the_header_or_a_subprotocol_entry() -> None:
    encoded = base64.urlsafe_b64encode(b"key").decode().rstrip("=")
    for headers, subprotocols, token in (
        ([], [], None),
        ([(b"authorization", b"Bearer key")], [], "key"),
        ([(b"authorization", b"bearer  key ")], [], "key"),
        ([(b"authorization", b"Basic key")], [], None),
        ([(b"authorization", b"Bearer ")], [], None),
        ([], ["agentws.v1", f"agentws.bearer.{encoded}"], "key"),
        ([], ["agentws.v1", "agentws.bearer."], ""),
    ):
        scope = {"type": "websocket", "headers": headers, "subprotocols": subprotocols}
        assert bearer_token(HTTPConnection(scope)) == token
