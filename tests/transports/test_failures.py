"""Failures of the host's code, of the store and of an encoder: the client concerned gets an error,
and no other client is affected."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from agentws import MemoryStore
from agentws.protocol import events as e
from agentws.protocol.codec import Record
from agentws.testing.agents import Script, Sleep, Step
from agentws.testing.connect import kind
from agentws.testing.faults import FaultyStore
from agentws.transports.connection import Connection
from agentws.transports.times import iso_time

from .conftest import Make
from .world import World

ERRORS = [TimeoutError, ConnectionRefusedError, FileNotFoundError, ConnectionResetError]
"""All of them are OSErrors, as is what a server raises when a peer has gone."""


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("native", [True, False], ids=["native", "simple"])
@pytest.mark.parametrize("option", ["authenticate", "authorize"])
async def test_an_error_of_the_host_is_not_taken_for_a_disconnect(
    make: Make, error: type[Exception], native: bool, option: str
) -> None:
    async def broken(*_: object) -> Any:
        raise error("the user database is at 10.0.0.7")

    async with make(Script("fine"), **{option: broken}) as world:
        client = await world.client(native=native)
        assert (await client.wait_closed()).code == 4500
        assert "internal" in str(client.frames) and "10.0.0.7" not in str(client.frames)


@pytest.mark.parametrize("error", ERRORS)
async def test_an_unexpected_error_of_the_store_refuses_the_frame_alone(
    make: Make, error: type[Exception]
) -> None:
    store = FaultyStore(MemoryStore())
    async with make(Script("fine"), store=store) as world:
        client = await world.client()
        await client.until("welcome")
        store.fail("append", times=1, error=error)
        refused = await client.ask({"type": "send", "id": "m1", "content": "x"})
        assert (refused["code"], refused["reply"]) == ("internal", "m1")
        await client.say("x", "m1")
        assert await client.answer() == "fine"


async def test_a_client_that_leaves_during_its_handshake_leaves_no_connection_behind(
    make: Make,
) -> None:
    """No error is logged; the app returns and the connection is not counted any more."""

    async def slow(connection: HTTPConnection) -> str:
        await asyncio.sleep(1)
        return "ann"

    async with make(Script("fine"), authenticate=slow, max_connections=1) as world:
        for _ in range(3):
            opening = asyncio.ensure_future(world.client())
            await asyncio.sleep(0.5)
            world.clients[-1].line.leave(1006)
            await asyncio.gather(opening, return_exceptions=True)
            await world.clients[-1].line.wait_closed()
        for gateway in world.gateways:
            gateway.connections.admit(owner=None, address="").release()


@pytest.mark.parametrize("error", [ValueError, OSError, KeyError])
async def test_a_connection_whose_log_can_not_be_read_is_closed_once(
    make: Make, error: Callable[[], Exception]
) -> None:
    """It is closed with a reason, and the store is not read again and again."""
    store = FaultyStore(MemoryStore())
    steps: list[Step] = ["word ", Sleep(0.1)]
    script = Script(*steps * 20)
    async with make(script, store=store, tail_size=1) as world:
        client = await world.client()
        await client.until("welcome")
        slow = await world.join(client)
        await slow.until("welcome")
        await slow.settle()
        slow.pause()
        await client.say("go", "m1")
        await client.until("RUN_FINISHED")
        # Waits until every node has read the whole log, so that only the slow one reads later.
        await asyncio.sleep(1)
        store.fail("read", error=error)
        calls = store.calls["read"]
        slow.resume()
        assert (await slow.wait_closed()).code == 4500
        await asyncio.sleep(1)
        assert store.calls["read"] - calls < 5
        store.heal()
        await world.back(slow)
        await slow.until("RUN_FINISHED")
        await world.check(client, slow)


async def test_a_connection_that_can_not_be_written_to_does_not_affect_the_others(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken: list[Connection] = []
    advance = Connection._advance

    def fail(self: Connection, records: Sequence[Record]) -> list[bytes]:
        if self in broken:
            raise ValueError("no wire says that")
        return advance(self, records)

    monkeypatch.setattr(Connection, "_advance", fail)
    async with make(Script("one ", Sleep(0.1), "two")) as world:
        fine, other = await world.client(), None
        await fine.until("welcome")
        other = await world.join(fine)
        welcome = await other.until("welcome")
        broken += [one for one in connections_of(world) if one.id == welcome["connection"]]
        await fine.say("go", "m1")
        assert await fine.answer() == "one two"
        closed = await other.wait_closed()
        assert (closed.code, other.frames[-1]["type"]) == (4500, "bye")
        await world.check(fine)
    assert "no wire says that" in caplog.text


def connections_of(world: World) -> list[Connection]:
    return [
        follower
        for gateway in world.gateways
        for session in gateway.sessions
        for follower in session.followers
        if isinstance(follower, Connection)
    ]


async def test_a_timestamp_far_out_of_range_does_not_end_the_connection(make: Make) -> None:
    error = e.RunError("No.", timestamp=time.time_ns())
    async with make(Script(error)) as world:
        client = await world.client(native=False)
        await client.send("go")
        said = await client.receive()
        assert (said["type"], said["timestamp"]) == ("error", "9999-12-31T23:59:59.999Z")
        native = await world.join(client)
        await native.until(lambda frame: kind(frame) == "MESSAGES_SNAPSHOT")


@pytest.mark.parametrize(
    ("timestamp", "said"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_762_079_400_123, "2025-11-02T10:30:00.123Z"),
        (10**30, "9999-12-31T23:59:59.999Z"),
        (-(10**30), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_any_timestamp_is_formatted_within_the_years_1_to_9999(timestamp: int, said: str) -> None:
    assert iso_time(timestamp) == said
