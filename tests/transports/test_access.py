"""Credentials, ownership and connection limits over WebSocket."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from agentws import BearerKeys, Identity
from agentws.auth import bearer_token
from agentws.testing.agents import Call, Script
from agentws.testing.connect import Client, Closed, Refused, kind

from .conftest import Make
from .world import World

KEYS = BearerKeys({"key-a": "ann", "key-b": Identity("bob", {"role": "admin"}), "schlüssel": "é"})


async def mine(world: World, **options: Any) -> Client:
    """Ann's client, after an exchange."""
    client = await world.client(token="key-a", **options)
    await client.until("welcome")
    await client.say("private", "m1")
    await client.until("RUN_FINISHED")
    return client


async def end_of(client: Client) -> Closed:
    closed = await client.wait_closed()
    assert not client.events(), "an event was sent to another identity"
    return closed


async def test_the_owner_may_open_its_session(make: Make) -> None:
    async with make(Script("fine"), authenticate=KEYS) as world:
        client = await mine(world)
        assert client.frames[0]["identity"] == "ann"
        other = await world.join(client, token="key-a")
        assert (await other.receive())["resume"] == "snapshot"


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


async def test_a_foreign_session_is_refused_like_one_that_does_not_exist(make: Make) -> None:
    """Refused before any replay; a deleted session gives the same answer."""
    async with make(Script("fine"), authenticate=KEYS) as world:
        client = await mine(world)
        deleted = await mine(world)
        gateway = world.gateways[0]
        await gateway.delete(await gateway.sessions.find(str(deleted.session)))
        said = []
        for query in (
            f"session={client.session}",
            f"session={client.session}&after={client.position}",
            f"session={client.session}&after=other.1.0000000000000000",
            f"session={deleted.session}",
        ):
            foreign = await world.client(query, token="key-b")
            closed = await end_of(foreign)
            said.append((closed.code, closed.reason, foreign.frames))
        assert all(one == said[0] for one in said)
        assert said[0][0] == 4403
        assert "private" not in str(said)


async def test_an_anonymous_session_is_open_to_everybody_who_knows_its_id(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await world.client()
        await client.until("welcome")
        other = await world.join(client)
        assert (await other.receive())["type"] == "welcome"


async def test_an_identity_is_never_taken_from_a_frame(make: Make) -> None:
    seen = []

    async def look(ctx: Any) -> None:
        seen.append(ctx.identity)

    async with make(Script(Call(look)), authenticate=KEYS) as world:
        client = await world.client(token="key-b")
        frame = {"identity": "root", "owner": "root", "role": "admin", "metadata": {"user": "root"}}
        await client.ask({"type": "send", "id": "m1", "content": "x", **frame})
        await client.until("RUN_FINISHED")
        assert [one.id for one in seen] == ["bob"]


async def test_authorize_is_asked_for_every_action(make: Make) -> None:
    def readers(identity: Identity | None, info: Any, action: str) -> bool:
        return identity is not None and (identity.id == info.owner or action == "read")

    script = Script("fine")
    async with make(script, authenticate=KEYS, authorize=readers) as world:
        client = await mine(world)
        reader = await world.join(client, token="key-b")
        assert (await reader.receive())["resume"] == "snapshot"
        for frame in (
            {"type": "send", "id": "1", "content": "x"},
            {"type": "cancel", "id": "2"},
            {"type": "withdraw", "id": "3", "message": "m1"},
            {"type": "answer", "id": "4", "interrupt": "i"},
            {"type": "command", "id": "5", "name": "clear"},
            {"type": "send", "id": "6", "content": "/clear"},
        ):
            assert (await reader.ask(frame))["code"] == "forbidden"
        assert len(script.runs) == 1


@pytest.mark.parametrize("answer", [None, 1, "yes", {"ok": True}])
async def test_authorize_allows_by_returning_true_and_nothing_else(make: Make, answer: Any) -> None:
    async with make(Script("fine"), authorize=lambda *_: answer) as world:
        client = await world.client()
        assert (await end_of(client)).code == 4403


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


@pytest.mark.parametrize(
    "session",
    [
        "short",
        "x" * 129,
        "an id with spaces",
        "ses_/../../etc/passwd",
        "ses_0123456789abcde\u00e9",
    ],
)
async def test_a_session_id_of_an_invalid_form_is_refused(make: Make, session: str) -> None:
    async with make(Script("fine")) as world:
        client = Client(world.apps[0])
        client.session = session
        await client.open()
        world.clients.append(client)
        closed = await end_of(client)
        assert closed.code == 4400
        assert "16 to 128" in str(client.frames) or client.frames[-1]["type"] == "bye"


async def test_an_unknown_agent_is_refused(make: Make) -> None:
    async with make({"one": Script("fine")}) as world:
        client = await world.client("agent=two")
        assert (await end_of(client)).code == 4400


# How many

LIMITS = [
    ("max_connections", 4503, {}),
    ("max_connections_per_address", 4429, {}),
    ("max_connections_per_identity", 4429, {"authenticate": KEYS}),
]


@pytest.mark.parametrize(("limit", "code", "options"), LIMITS, ids=[one[0] for one in LIMITS])
async def test_a_connection_beyond_a_limit_is_refused(
    make: Make, limit: str, code: int, options: dict[str, Any]
) -> None:
    async with make(Script("fine"), **{limit: 3}, **options) as world:
        app = world.apps[0]

        async def enter() -> Client:
            client = await Client(app, token="key-a").open()
            world.clients.append(client)
            return client

        clients = [await enter() for _ in range(3)]
        for client in clients:
            assert (await client.receive())["type"] == "welcome"
        for _ in range(3):
            refused = await enter()
            assert (await refused.wait_closed()).code == code
            assert (refused.frames[-1]["type"], refused.frames[-1]["retryable"]) == ("bye", True)
        clients[0].drop()
        await clients[0].line.wait_closed()
        assert kind(await (await enter()).receive()) == "welcome"


@pytest.mark.parametrize(("limit", "code", "options"), LIMITS, ids=[one[0] for one in LIMITS])
async def test_a_burst_of_handshakes_does_not_exceed_a_limit(
    make: Make, limit: str, code: int, options: dict[str, Any]
) -> None:
    """A connection is counted before the first await, and released if it is refused."""

    async def slow(*_: object) -> bool:
        await asyncio.sleep(0.1)
        return True

    async with make(Script("fine"), **{limit: 5}, authorize=slow, **options) as world:
        app = world.apps[0]
        for _ in range(2):
            clients = [Client(app, token="key-a") for _ in range(40)]
            await asyncio.gather(*(client.open() for client in clients))
            await asyncio.sleep(1)
            for client in clients:
                client.take_waiting()
            welcomed = [one for one in clients if one.frames[0]["type"] == "welcome"]
            assert len(welcomed) == 5
            assert {one.closed.code for one in clients if one.closed} == {code}
            for client in clients:
                await client.aclose()


async def test_a_refused_handshake_does_not_count_against_the_limit(make: Make) -> None:
    async with make(Script("fine"), authorize=lambda *_: False, max_connections=1) as world:
        for _ in range(5):
            assert (await end_of(await world.client())).code == 4403


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
