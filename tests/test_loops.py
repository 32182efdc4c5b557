"""A gateway called on several event loops: it restarts if its loop is closed, else WrongLoop."""

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


async def never_ending(ctx: RunContext) -> AsyncIterator[str]:
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


def on_own_loop(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Runs ``work`` on a loop of its own, in a thread, with a timeout; returns its result."""
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


# The first loop is closed


@pytest.mark.parametrize("kind", [Starlette, FastAPI])
def test_each_request_of_a_test_client_without_a_lifespan_may_run_on_its_own_loop(
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


def test_a_message_is_kept_when_the_loop_of_its_request_ends(store: Store) -> None:
    """The message is in the log, and so is what was appended of the answer."""
    gateway = mounted(store)
    client = TestClient(gateway)
    body = {"id": "m1", "content": "hello"}
    assert client.post(f"/sessions/{SESSION}/messages", json=body).status_code == 202
    # It may be queued, running or answered: the events contain it in each case.
    asked = {"accept": "application/json"}
    events = client.get(f"/sessions/{SESSION}/events", headers=asked).json()["events"]
    assert '"m1"' in json.dumps(events)
    assert client.post(f"/sessions/{SESSION}/messages", json=body).json()["duplicate"] is True
    asyncio.run(gateway.stop())


def test_a_gateway_works_on_a_new_loop_for_each_test(store: Store) -> None:
    gateway = mounted(store)
    numbers = itertools.count()

    async def one() -> str:
        async with connect(gateway, f"/ws/chat?session={SESSION}") as client:
            await client.until("welcome")
            await client.say("hello", f"m{next(numbers)}")
            return await client.answer()

    assert [on_own_loop(one) for _ in range(3)] == ["hello "] * 3
    asyncio.run(gateway.stop())


def test_a_run_whose_loop_ended_is_recovered_as_interrupted_on_the_next_loop(store: Store) -> None:
    gateway = mounted(store, never_ending)

    async def begin() -> None:
        client = await Client(gateway).open()
        client.session = SESSION
        await client.reconnect()
        await client.say("go", "m1")
        await client.until("TEXT_MESSAGE_CONTENT")

    async def read() -> list[Any]:
        async with connect(gateway, f"/ws/chat?session={SESSION}") as client:
            snapshot = await client.until("MESSAGES_SNAPSHOT")
            if len(snapshot["event"]["messages"]) < 2:
                await client.until("RUN_ERROR")
            page = await client_of(gateway).get(f"/sessions/{SESSION}/messages")
            messages: list[Any] = page.json()["messages"]
            return messages

    on_own_loop(begin)
    _, answer = on_own_loop(read)
    assert answer["content"] == "begun "
    assert answer["metadata"]["agentws"]["code"] == "interrupted"
    asyncio.run(gateway.stop())


def test_a_gateway_restarts_after_its_loop_was_closed_without_cancelling_tasks(
    store: Store,
) -> None:
    """Some test runners close a loop like this: its tasks are neither cancelled nor run again."""
    gateway = mounted(store, never_ending)
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

    on_own_loop(again)
    assert gateway.stats()["total_connections"] == 0


def test_a_request_after_a_lifespan_restarts_the_gateway_on_another_loop(store: Store) -> None:
    gateway = mounted(store)
    with TestClient(gateway) as client:
        assert chat(client, "one") == "one "
    later = TestClient(gateway)
    assert later.get("/readyz").json()["status"] == "ready"
    assert chat(later, "two") == "two "
    with TestClient(gateway) as client:
        assert chat(client, "three") == "three "
    assert not gateway.started


async def test_a_gateway_stopped_on_the_same_loop_does_not_start_by_a_late_call() -> None:
    gateway = mounted(MemoryStore())
    async with running(gateway):
        pass
    with pytest.raises(Draining):
        await gateway.start()


def test_a_gateway_restarts_when_its_store_can_not_be_closed_on_another_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway = mounted(MemoryStore())

    async def refuse() -> None:
        raise Unavailable("as ordered")

    monkeypatch.setattr(gateway.store, "close", refuse)
    for _ in range(2):
        assert TestClient(gateway).get("/readyz").json()["status"] == "ready"


# The first loop is not closed


def test_requests_on_a_second_loop_are_refused_with_wrong_loop_and_a_hint() -> None:
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
        # Routes that use nothing of the loop still answer, and the first loop is unaffected.
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/").status_code == 200
        first.send_text("hello")
        assert first.receive_json()["content"] == "hello "
    assert client.get("/sessions").status_code == 200


def test_a_second_lifespan_on_another_loop_fails_its_startup() -> None:
    gateway = mounted(MemoryStore())
    with TestClient(gateway) as client:
        with pytest.raises(WrongLoop, match="with TestClient"), TestClient(gateway):
            raise AssertionError("the second lifespan started")
        assert chat(client, "hello") == "hello "


def test_calls_from_another_loop_than_the_server_threads_raise_wrong_loop() -> None:
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


def test_a_loop_that_is_paused_but_not_closed_keeps_the_gateway() -> None:
    """Like the loop of a module-scoped fixture, between tests that have their own loops."""
    gateway = mounted(MemoryStore())
    loop = asyncio.new_event_loop()
    loop.run_until_complete(gateway.start())
    with pytest.raises(WrongLoop):
        asyncio.run(gateway.broadcast("hello"))
    loop.run_until_complete(gateway.stop())
    loop.close()
    asyncio.run(gateway.start(again=True))


def test_a_start_without_asyncio_raises_wrong_loop() -> None:
    gateway = mounted(MemoryStore())
    starting = gateway.start()
    with pytest.raises(WrongLoop, match="Expected asyncio"):
        starting.send(None)


# Lifetime


def test_a_lifetime_on_a_closed_loop_is_abandoned_before_the_next_start() -> None:
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
    assert done == ["begin", "abandon", "begin", "abandon"] and not lifetime.state.started
    asyncio.run(lifetime.stop())
    asyncio.run(lifetime.start(again=False))
    assert done == ["begin", "abandon", "begin", "abandon", "begin"]


def test_a_start_interrupted_by_the_end_of_its_loop_is_abandoned() -> None:
    begun: list[str] = []

    async def begin() -> None:
        begun.append("begin")
        if len(begun) == 1:
            await asyncio.Event().wait()

    async def abandon() -> None:
        begun.append("abandon")

    async def nothing() -> None:
        """Never called."""

    lifetime = Lifetime(begin=begin, drain=nothing, close=nothing, abandon=abandon)
    loop = asyncio.new_event_loop()
    starting = loop.create_task(lifetime.start(again=False))
    loop.run_until_complete(asyncio.sleep(0))
    starting._log_destroy_pending = False  # type: ignore[attr-defined]
    with pytest.raises(WrongLoop):
        asyncio.run(lifetime.start(again=False))
    loop.close()
    asyncio.run(lifetime.start(again=False))
    assert begun == ["begin", "abandon", "begin"] and lifetime.state.started
