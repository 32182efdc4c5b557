"""A gateway on more than one event loop: it goes on where that can be, else it says what to do."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.testclient import TestClient

from agentws import AgentGateway, MemoryStore, RunContext, SQLiteStore, mount_agent_gateway
from agentws.errors import Draining, Unavailable, WrongLoop
from agentws.gateway.lifetime import ONE_LOOP, Lifetime
from agentws.store import Store
from agentws.testing.connect import Client, connect, running

SESSION = "ses_0123456789abcdef"
PATIENCE = 30.0


async def echo(ctx: RunContext) -> AsyncIterator[str]:
    for word in ctx.text.split():
        yield word + " "
        await asyncio.sleep(0)


async def endless(ctx: RunContext) -> AsyncIterator[str]:
    yield "begun "
    await asyncio.Event().wait()


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "chat.db")


def mounted(store: Store, agent: Any = echo, kind: type[Starlette] = Starlette) -> AgentGateway:
    return mount_agent_gateway(kind(), agent, store=store)


def client_of(app: Any) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app)
    return httpx2.AsyncClient(transport=transport, base_url="http://testserver")


def ends(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """What ``work`` returns on a loop of its own, which is over within a while."""
    result: Future[Any] = Future()

    def run() -> None:
        try:
            result.set_result(asyncio.run(work()))
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result.result(PATIENCE)


def chat(client: TestClient, text: str, session: str = SESSION) -> str:
    with client.websocket_connect(f"/ws/chat?session={session}") as socket:
        socket.send_text(text)
        return str(socket.receive_json()["content"])


# A loop that is closed


@pytest.mark.parametrize("kind", [Starlette, FastAPI])
def test_a_test_client_without_a_lifespan_has_a_loop_for_each_request(
    store: Store, kind: type[Starlette]
) -> None:
    gateway = mounted(store, kind=kind)
    client = TestClient(gateway.app)  # type: ignore[arg-type]
    for number in range(3):
        assert client.get("/readyz").json()["status"] == "ready"
        assert client.get("/stats").json()["total_connections"] == 0
        assert chat(client, f"hello {number}") == f"hello {number} "
    page = client.get(f"/sessions/{SESSION}/messages").json()
    assert [one["content"] for one in page["messages"]] == [
        text for number in range(3) for text in (f"hello {number}", f"hello {number} ")
    ]
    asyncio.run(gateway.stop())
    assert not gateway.started


def test_what_a_request_left_running_is_in_the_log(store: Store) -> None:
    """Its loop ends with it: the message is kept, and what was written of the answer."""
    gateway = mounted(store)
    client = TestClient(gateway)
    body = {"id": "m1", "content": "hello"}
    assert client.post(f"/sessions/{SESSION}/messages", json=body).status_code == 202
    # It waits, is being answered or was: the events say it in each case, the messages not in all.
    asked = {"accept": "application/json"}
    events = client.get(f"/sessions/{SESSION}/events", headers=asked).json()["events"]
    assert '"m1"' in json.dumps(events)
    assert client.post(f"/sessions/{SESSION}/messages", json=body).json()["duplicate"] is True
    asyncio.run(gateway.stop())


def test_each_test_has_a_loop_of_its_own(store: Store) -> None:
    gateway = mounted(store)
    numbers = itertools.count()

    async def one() -> str:
        async with connect(gateway, f"/ws/chat?session={SESSION}") as client:
            await client.until("welcome")
            await client.say("hello", f"m{next(numbers)}")
            return await client.answer()

    assert [ends(one) for _ in range(3)] == ["hello "] * 3
    asyncio.run(gateway.stop())


def test_a_loop_ends_whatever_runs_on_it(store: Store) -> None:
    gateway = mounted(store, endless)

    async def begin() -> None:
        client = await Client(gateway).open()
        client.session = SESSION
        await client.reconnect()
        await client.say("go", "m1")
        await client.until("TEXT_MESSAGE_CONTENT")

    async def look() -> list[Any]:
        async with connect(gateway, f"/ws/chat?session={SESSION}") as client:
            snapshot = await client.until("MESSAGES_SNAPSHOT")
            if len(snapshot["event"]["messages"]) < 2:
                await client.until("RUN_ERROR")
            page = await client_of(gateway).get(f"/sessions/{SESSION}/messages")
            messages: list[Any] = page.json()["messages"]
            return messages

    ends(begin)
    _, answer = ends(look)
    assert answer["content"] == "begun "
    assert answer["metadata"]["agentws"]["code"] == "interrupted"
    asyncio.run(gateway.stop())


def test_a_loop_that_is_only_closed_leaves_nothing_to_wait_for(store: Store) -> None:
    """As some test runners end one: nothing on it is cancelled, nothing on it moves again."""
    gateway = mounted(store, endless)
    loop = asyncio.new_event_loop()
    client = Client(gateway, f"/ws/chat?session={SESSION}")
    loop.run_until_complete(client.open())
    loop.run_until_complete(client.say("go", "m1"))
    loop.run_until_complete(client.until("TEXT_MESSAGE_CONTENT"))
    left = asyncio.all_tasks(loop)
    for task in left:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()

    async def again() -> None:
        assert (await client_of(gateway).get("/readyz")).json()["status"] == "ready"
        assert await gateway.broadcast("hello") == 0
        async with connect(gateway, "/ws/chat?session=ses_of_somebody_else") as other:
            await other.until("welcome")
        await gateway.stop()

    ends(again)
    assert gateway.stats()["total_connections"] == 0


def test_a_request_after_a_lifespan_begins_anew_on_another_loop(store: Store) -> None:
    gateway = mounted(store)
    with TestClient(gateway) as client:
        assert chat(client, "one") == "one "
    later = TestClient(gateway)
    assert later.get("/readyz").json()["status"] == "ready"
    assert chat(later, "two") == "two "
    with TestClient(gateway) as client:
        assert chat(client, "three") == "three "
    assert not gateway.started


async def test_on_the_same_loop_one_that_was_stopped_stays_so() -> None:
    gateway = mounted(MemoryStore())
    async with running(gateway):
        pass
    with pytest.raises(Draining):
        await gateway.start()


def test_a_store_that_can_not_be_closed_elsewhere_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway = mounted(MemoryStore())

    async def refuse() -> None:
        raise Unavailable("as ordered")

    monkeypatch.setattr(gateway.store, "close", refuse)
    for _ in range(2):
        assert TestClient(gateway).get("/readyz").json()["status"] == "ready"


# A loop that goes on


def test_a_second_loop_beside_the_first_is_told_what_to_do() -> None:
    gateway = mounted(MemoryStore())
    client = TestClient(gateway)
    with client.websocket_connect("/ws/chat") as first:
        for path in ("/sessions", "/readyz", "/stats", f"/sessions/{SESSION}/events"):
            response = client.get(path)
            assert response.status_code == 500
            assert response.json()["code"] == "wrong_loop"
            assert response.json()["expected"] == ONE_LOOP
        with client.websocket_connect("/ws/chat") as second:
            said = second.receive_json()
            assert said["metadata"]["code"] == "wrong_loop" and ONE_LOOP in said["content"]
        with client.websocket_connect("/ws/chat", subprotocols=["agentws.v1"]) as third:
            bye = third.receive_json()
            assert bye["reason"] == "wrong_loop" and bye["retryable"] is False
            assert ONE_LOOP in bye["message"]
        # What needs no loop is answered, and the first goes on.
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/").status_code == 200
        first.send_text("hello")
        assert first.receive_json()["content"] == "hello "
    assert client.get("/sessions").status_code == 200


def test_a_lifespan_beside_another_is_a_startup_that_fails() -> None:
    gateway = mounted(MemoryStore())
    with TestClient(gateway) as client:
        with pytest.raises(WrongLoop, match="with TestClient"), TestClient(gateway):
            raise AssertionError("it started")
        assert chat(client, "hello") == "hello "


def test_the_server_in_a_thread_and_the_test_beside_it() -> None:
    gateway = mounted(MemoryStore())
    server = uvicorn.Server(uvicorn.Config(gateway, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.01)
    for work in (
        gateway.broadcast("hello"),
        gateway.session(SESSION).push("hello"),
        gateway.session(SESSION).messages(),
        gateway.start(),
        gateway.start(again=True),
        gateway.drain(),
        gateway.stop(),
    ):
        with pytest.raises(WrongLoop, match="another event loop"):
            asyncio.run(work)
    assert gateway.started
    server.should_exit = True
    thread.join(PATIENCE)
    assert not gateway.started
    with TestClient(gateway) as client:
        assert chat(client, "hello") == "hello "


def test_a_loop_that_rests_is_not_closed() -> None:
    """As that of a wider scope, between the tests that have loops of their own."""
    gateway = mounted(MemoryStore())
    loop = asyncio.new_event_loop()
    loop.run_until_complete(gateway.start())
    with pytest.raises(WrongLoop):
        asyncio.run(gateway.broadcast("hello"))
    loop.run_until_complete(gateway.stop())
    loop.close()
    asyncio.run(gateway.start(again=True))


def test_without_asyncio_it_is_said_what_is_missing() -> None:
    gateway = mounted(MemoryStore())
    starting = gateway.start()
    with pytest.raises(WrongLoop, match="Expected asyncio"):
        starting.send(None)


# One lifetime


def test_a_life_that_its_loop_ended_is_abandoned_before_the_next() -> None:
    done: list[str] = []

    def step(name: str) -> Callable[[], Coroutine[Any, Any, None]]:
        async def do() -> None:
            done.append(name)

        return do

    names = ("begin", "drain", "close", "abandon")
    lifetime = Lifetime(**{name: step(name) for name in names})
    asyncio.run(lifetime.start(again=False))
    asyncio.run(lifetime.start(again=False))
    assert done == ["begin", "abandon", "begin"]
    asyncio.run(lifetime.drain())
    assert done == ["begin", "abandon", "begin"], "nothing is left to drain"
    asyncio.run(lifetime.stop())
    assert done == ["begin", "abandon", "begin", "abandon"] and not lifetime.started
    asyncio.run(lifetime.stop())
    asyncio.run(lifetime.start(again=False))
    assert done == ["begin", "abandon", "begin", "abandon", "begin"]


def test_a_start_that_its_loop_did_not_outlive_is_abandoned() -> None:
    begun: list[str] = []

    async def begin() -> None:
        begun.append("begin")
        if len(begun) == 1:
            await asyncio.Event().wait()

    async def abandon() -> None:
        begun.append("abandon")

    async def nothing() -> None:
        """Is never asked for."""

    lifetime = Lifetime(begin=begin, drain=nothing, close=nothing, abandon=abandon)
    loop = asyncio.new_event_loop()
    starting = loop.create_task(lifetime.start(again=False))
    loop.run_until_complete(asyncio.sleep(0))
    starting._log_destroy_pending = False  # type: ignore[attr-defined]
    with pytest.raises(WrongLoop):
        asyncio.run(lifetime.start(again=False))
    loop.close()
    asyncio.run(lifetime.start(again=False))
    assert begun == ["begin", "abandon", "begin"] and lifetime.started
