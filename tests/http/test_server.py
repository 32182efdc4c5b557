"""The routes of the node: health, readiness, stats, broadcast, push."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import MemoryStore, mount_agent_gateway
from agentws.errors import Unavailable
from agentws.protocol.frames import Durability
from agentws.testing.connect import connect
from agentws.testing.faults import FaultyStore, SlowStore
from agentws.testing.virtual import virtual_run

from .calling import KEY, SESSION, Echo, answered, client, say, served

ADMIN = {"x-api-key": KEY}


async def test_liveness_does_not_use_the_store() -> None:
    store = FaultyStore(MemoryStore())
    store.fail({"open", "ping"})
    gateway = mount_agent_gateway(Starlette(), Echo, store=store)
    http = client(gateway)
    for url in ("/health", "/livez"):
        response = await http.get(url)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert not store.calls
    assert not gateway.started


async def test_readiness_reports_whether_the_store_is_reachable() -> None:
    store = FaultyStore(MemoryStore())
    async with served(store=store) as (_, http):
        ready = {
            "status": "ready",
            "store": "ok",
            "durability": "process",
            "draining": False,
            "hardening": "partial",
            "zombie_tasks": 0,
        }
        assert without_lag(await http.get("/readyz")) == ready
        del ready["durability"]
        for error in (Unavailable, RuntimeError):
            store.fail("available_durability", error=error)
            response = await http.get("/readyz")
            assert response.status_code == 503
            unavailable = {**ready, "status": "unavailable", "store": "unreachable"}
            assert without_lag(response) == unavailable
        store.heal()
        assert (await http.get("/readyz")).status_code == 200


def without_lag(response: Any) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert 0 <= body.pop("loop_lag_ms") < 60_000
    return body


async def test_readiness_reports_the_durability_that_is_available_now() -> None:
    class Degraded(FaultyStore):
        durability: Durability = "replicated"

        async def available_durability(self) -> Durability:
            return "disk"

    async with served(store=Degraded(MemoryStore())) as (_, http):
        response = await http.get("/readyz")
        assert (response.status_code, response.json()["durability"]) == (200, "disk")


async def test_a_node_whose_store_fails_to_open_is_not_ready() -> None:
    store = FaultyStore(MemoryStore())
    store.fail("open", times=1)
    gateway = mount_agent_gateway(Starlette(), Echo, store=store)
    http = client(gateway)
    assert (await http.get("/readyz")).status_code == 503
    assert (await http.get("/readyz")).status_code == 200
    await gateway.stop()


def test_a_node_whose_store_hangs_is_not_ready() -> None:
    async def work() -> None:
        store = SlowStore(MemoryStore(), slow_on="available_durability")
        async with served(store=store) as (_, http):
            store.pause()
            assert (await http.get("/readyz")).status_code == 503

    virtual_run(work())


async def test_a_draining_node_is_not_ready() -> None:
    async with served() as (gateway, http):
        await gateway.drain()
        response = await http.get("/readyz")
        assert response.status_code == 503
        assert response.json()["status"] == "draining" and response.json()["draining"] is True
        assert (await http.get("/livez")).status_code == 200
    assert (await client(gateway).get("/readyz")).status_code == 503


@pytest.mark.parametrize("hardening", ["preset", "partial"])
async def test_readiness_reports_the_server_preset(hardening: str) -> None:
    gateway = mount_agent_gateway(Starlette(), Echo)

    async def preset(scope: Any, receive: Any, send: Any) -> None:
        offered = {"agentws.server": {"hardening": hardening}}
        await gateway({**scope, "extensions": offered}, receive, send)

    assert (await client(preset).get("/readyz")).json()["hardening"] == hardening
    await gateway.stop()


async def test_stats_are_counts_without_session_ids() -> None:
    async with served() as (gateway, http):
        assert (await http.get("/stats")).json()["total_connections"] == 0
        async with connect(gateway, f"/ws/chat?session={SESSION}"):
            response = await http.get("/stats")
            assert response.json()["active_sessions"] == 1
            assert response.json()["total_connections"] == 1
            assert SESSION not in response.text


async def test_a_broadcast_reaches_every_connection() -> None:
    async with served(admin_key=KEY) as (gateway, http):
        async with (
            connect(gateway, "/ws/chat") as native,
            connect(gateway, "/ws/chat", native=False) as simple,
        ):
            await native.until("welcome")
            body = {"content": "Back at ten", "level": "warning", "metadata": {"n": 1}}
            response = await http.post("/broadcast", json=body, headers=ADMIN)
            assert (response.status_code, response.json()) == (200, {"reached": 2, "nodes": 1})
            notice = await native.until("notice")
            assert {key: notice[key] for key in body} == body
            assert (await simple.receive())["content"] == "Back at ten"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "bad_request"),
        ({"content": ""}, 400, "bad_request"),
        ({"content": "x", "level": "loud"}, 400, "bad_request"),
        ({"content": "x", "topic": "no name"}, 400, "bad_request"),
        ({"content": "x", "topic": ""}, 400, "bad_request"),
        ({"content": "x", "durable": True}, 400, "bad_request"),
    ],
)
async def test_an_invalid_broadcast_is_refused(body: Any, status: int, code: str) -> None:
    async with served(admin_key=KEY) as (_, http):
        response = await http.post("/broadcast", json=body, headers=ADMIN)
        assert (response.status_code, response.json()["code"]) == (status, code)


async def test_a_client_that_was_away_receives_a_pushed_notice() -> None:
    async with served(admin_key=KEY) as (gateway, http):
        accepted = (await say(http, "hello")).json()["position"]
        await answered(http)
        url = f"/sessions/{SESSION}/push"
        response = await http.post(url, json={"content": "Your export is ready"}, headers=ADMIN)
        assert response.status_code == 200
        async with connect(gateway, f"/ws/chat?session={SESSION}&after={accepted}") as ws:
            posted = await ws.until("notice.posted")
            assert posted["event"]["content"] == "Your export is ready"
            assert posted["id"] == response.json()["position"]


async def test_a_push_to_an_unknown_session_is_not_found() -> None:
    async with served(admin_key=KEY) as (_, http):
        for id, status in (("ses_nobody_has_it", 404), ("short", 400)):
            response = await http.post(f"/sessions/{id}/push", json={"content": "x"}, headers=ADMIN)
            assert response.status_code == status


async def test_concurrent_broadcasts_all_arrive() -> None:
    async with served(admin_key=KEY) as (gateway, http), connect(gateway, "/ws/chat") as ws:
        responses = await asyncio.gather(
            *(http.post("/broadcast", json={"content": f"{n}"}, headers=ADMIN) for n in range(10))
        )
        assert all(one.status_code == 200 for one in responses)
        received = {(await ws.until("notice"))["content"] for _ in range(10)}
        assert received == {str(n) for n in range(10)}
