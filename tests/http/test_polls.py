"""The log over plain HTTP by long polls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws import Limits
from agentws.protocol.events import Custom
from agentws.testing.oracle import check_client, read_log
from agentws.testing.virtual import virtual_run

from .calling import POLL, SESSION, answered, say, served

pytestmark = pytest.mark.usefixtures("nodes")
URL = f"/sessions/{SESSION}/events"


async def test_polling_reads_the_whole_log() -> None:
    async with served(alone=True) as (gateway, http):
        await say(http, "/help")
        received: list[dict[str, Any]] = []
        poll = await _poll(http)
        assert poll["resume"] == "snapshot" and poll["reason"] == "no_position"
        welcome = {"type": "welcome", "head": poll["position"]}
        received.append(welcome | {key: poll[key] for key in ("resume", "reason")})
        received += poll["events"]
        for number in range(3):
            await say(http, f"question {number}", f"m{number}")
            await answered(http)
            poll = await _poll(http, after=poll["position"])
            assert poll["resume"] == "replay" and "more" not in poll
            received += poll["events"]
        epoch, records = await read_log(gateway.store, SESSION)
        check_client(epoch, records, received, complete=True)


async def _poll(http: Any, **query: Any) -> dict[str, Any]:
    response = await http.get(URL, params=query, headers=POLL)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    found: dict[str, Any] = response.json()
    return found


async def test_a_long_poll_waits_for_new_events() -> None:
    async with served() as (gateway, http):
        await say(http, "/help")
        position = (await _poll(http))["position"]
        waiting = asyncio.ensure_future(_poll(http, after=position, wait=30))
        session = await gateway.sessions.find(SESSION)
        async with asyncio.timeout(10):
            while not session.followers:  # noqa: ASYNC110 - it is another task that follows
                await asyncio.sleep(0)
        await say(http, "hello")
        poll = await waiting
        assert poll["events"][0]["event"]["type"] == "message.accepted"
        assert not session.followers


def test_a_long_poll_returns_empty_after_its_timeout() -> None:
    async def work() -> None:
        async with served() as (_, http):
            await say(http, "/help")
            position = (await _poll(http))["position"]
            loop = asyncio.get_running_loop()
            for asked, waited in ((2, 2), (3600, 30)):
                began = loop.time()
                poll = await _poll(http, after=position, wait=asked)
                assert loop.time() - began == pytest.approx(waited)
                assert poll == {"events": [], "position": position, "resume": "replay"}

    virtual_run(work())


async def test_a_long_log_is_polled_in_several_responses() -> None:
    async def agent(ctx: Any) -> AsyncIterator[Any]:
        for number in range(1200):
            yield Custom("n", number)

    async with served(agent) as (gateway, http):
        first = (await say(http, "go")).json()["position"]
        await answered(http)
        parts, position = [], first
        while True:
            poll = await _poll(http, after=position)
            parts.append(len(poll["events"]))
            position = poll["position"]
            if "more" not in poll:
                break
        assert len(parts) == 3
        epoch, records = await read_log(gateway.store, SESSION)
        assert sum(parts) == len(records) - 1


async def test_a_long_poll_ends_when_its_session_is_deleted() -> None:
    async with served() as (gateway, http):
        await say(http, "/help")
        position = (await _poll(http))["position"]
        waiting = asyncio.ensure_future(
            http.get(URL, params={"after": position, "wait": 30}, headers=POLL)
        )
        session = await gateway.sessions.find(SESSION)
        async with asyncio.timeout(10):
            while not session.followers:  # noqa: ASYNC110 - it is another task that follows
                await asyncio.sleep(0)
        await http.delete(f"/sessions/{SESSION}")
        assert (await waiting).status_code == 503


async def test_head_and_invalid_wait_are_refused() -> None:
    async with served() as (_, http):
        await say(http, "hello")
        assert (await http.head(URL)).status_code == 405
        response = await http.get(URL, params={"wait": "long"}, headers=POLL)
        assert response.status_code == 400


async def test_long_polls_count_as_connections() -> None:
    limits = Limits(max_connections_per_address=2)
    async with served(limits=limits, alone=True) as (_, http):
        await say(http, "hello")
        await answered(http)
        position = (await http.get(f"/sessions/{SESSION}")).json()["position"]
        url, query = f"/sessions/{SESSION}/events", {"after": position}
        waiting = [
            asyncio.ensure_future(http.get(url, params={**query, "wait": "5"}, headers=POLL))
            for _ in range(5)
        ]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert {one.result().status_code for one in done} == {429}
        assert (await http.get(url, params=query, headers=POLL)).status_code == 200
        await say(http, "again", "m2")
        codes = [(await one).status_code for one in waiting]
        assert sorted(codes) == [200, 200, 429, 429, 429]
        again = await http.get(url, params={**query, "wait": "5"}, headers=POLL)
        assert again.status_code == 200


async def test_a_drain_answers_waiting_long_polls() -> None:
    """A server may wait for every response before it ends."""
    async with served(alone=True) as (gateway, http):
        await say(http, "hello")
        await answered(http)
        position = (await _poll(http))["position"]
        waiting = asyncio.ensure_future(_poll(http, after=position, wait=30))
        for _ in range(100):
            await asyncio.sleep(0)
        assert gateway.connections.polls
        await gateway.drain()
        async with asyncio.timeout(5):
            assert (await waiting)["events"] == []
        assert not gateway.connections.polls
