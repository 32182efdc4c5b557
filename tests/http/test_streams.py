"""The log as an SSE stream over plain HTTP, dropped and resumed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentws import AgentGateway, BearerKeys, Limits, MemoryStore
from agentws.protocol.events import StateSnapshot
from agentws.protocol.wires.event_stream import EventStreamEncoder
from agentws.testing.agents import Gate, Script, Sleep
from agentws.testing.connect import kind
from agentws.testing.faults import FaultyStore
from agentws.testing.oracle import check_client, check_log, read_log
from agentws.testing.virtual import virtual_run
from agentws.transports.connection import MAX_UNREAD
from agentws.transports.stream import KEEPALIVE

from .calling import POLL, SESSION, Sent, Stream, answered, client, say, served

pytestmark = pytest.mark.usefixtures("nodes")

CONTENT = "TEXT_MESSAGE_CONTENT"
URL = f"/sessions/{SESSION}/events"


def frames(sent: Iterable[Sent]) -> list[dict[str, Any]]:
    return [one.data for one in sent]


async def test_an_sse_stream_begins_with_welcome_and_a_snapshot() -> None:
    async with served() as (gateway, http):
        await say(http, "hello")
        await answered(http)
        async with Stream(gateway, URL) as stream:
            assert stream.status == 200
            assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert stream.headers["cache-control"] == "no-cache, no-transform"
            assert stream.headers["x-accel-buffering"] == "no"
            welcome = await stream.next()
            assert welcome.name == "welcome" and welcome.id is None
            assert welcome.data["resume"] == "snapshot"
            assert welcome.data["reason"] == "no_position"
            snapshot = await stream.next()
            assert snapshot.name == "message" and snapshot.type == "MESSAGES_SNAPSHOT"
            assert snapshot.id == snapshot.data["id"] == welcome.data["head"]
            assert stream.raw.startswith(b"retry: ")
            assert b"\r" not in stream.raw


async def test_a_live_stream_delivers_the_whole_log() -> None:
    async with served() as (gateway, http):
        await say(http, "/help")
        async with Stream(gateway, URL) as stream:
            for number in range(3):
                await say(http, f"question {number}", f"m{number}")
                await stream.until("RUN_FINISHED")
        epoch, records = await read_log(gateway.store, SESSION)
        check_log(records)
        check_client(epoch, records, frames(stream.sent), complete=True)
        ids = [one.id for one in stream.sent if one.name == "message"]
        assert ids == [one.data["id"] for one in stream.sent if one.name == "message"]


async def test_a_stream_opened_during_a_run_gets_the_whole_run() -> None:
    gate = Gate()
    async with served(Script("one ", gate, "two")) as (gateway, http):
        await say(http, "go")
        await gate.reached()
        async with Stream(gateway, URL) as stream:
            await stream.until("TEXT_MESSAGE_CONTENT")
            gate.open()
            await stream.until("RUN_FINISHED")
        epoch, records = await read_log(gateway.store, SESSION)
        check_client(epoch, records, frames(stream.sent), complete=True)


@settings(max_examples=30, deadline=None)
@given(drops=st.lists(st.integers(1, 9), max_size=12), after_header=st.booleans())
def test_a_stream_dropped_anywhere_resumes_without_loss(
    drops: list[int], after_header: bool
) -> None:
    steps = [step for number in range(20) for step in (f"word{number} ", Sleep(1))]

    async def work() -> None:
        async with served(Script(*steps)) as (gateway, http):
            await say(http, "go")
            received: list[Sent] = []
            last = None
            for length in [*drops, 1000]:
                async with _resumed(gateway, last, after_header) as stream:
                    while len(stream.sent) < length and _is_active(stream):
                        await stream.next()
                last = stream.last_id or last
                received += _applied(stream.sent)
                if not _is_active(stream):
                    break
            epoch, records = await read_log(gateway.store, SESSION)
            check_client(epoch, records, frames(received), complete=True)

    virtual_run(work())


def _is_active(stream: Stream) -> bool:
    return not stream.sent or stream.sent[-1].type != "RUN_FINISHED"


def _resumed(gateway: AgentGateway, last: str | None, header: bool) -> Stream:
    if last is None:
        return Stream(gateway, URL)
    if header:
        return Stream(gateway, f"{URL}?after=the.0.", last_event_id=last)
    return Stream(gateway, f"{URL}?after={last}")


def _applied(sent: list[Sent]) -> list[Sent]:
    """The events up to the last id: the browser resumes from there."""
    numbers = [index for index, one in enumerate(sent) if one.id is not None]
    return sent[: numbers[-1] + 1] if numbers else []


async def test_only_the_last_frame_of_a_snapshot_has_an_id() -> None:
    async with served(Script(StateSnapshot({"n": 1}))) as (gateway, http):
        await say(http, "go")
        await answered(http)
        async with Stream(gateway, URL) as stream:
            welcome, messages, state = [await stream.next() for _ in range(3)]
            assert (messages.type, state.type) == ("MESSAGES_SNAPSHOT", "STATE_SNAPSHOT")
            assert messages.id is None and state.id == welcome.data["head"]


@pytest.mark.parametrize(
    ("position", "reason"),
    [("other.1.0123456789abcdef", "epoch"), ("{epoch}.99.0123456789abcdef", "future")],
)
async def test_a_lost_position_gets_a_snapshot(position: str, reason: str) -> None:
    async with served() as (gateway, http):
        head = (await say(http, "hello")).json()["position"]
        await answered(http)
        position = position.format(epoch=head.split(".")[0])
        async with Stream(gateway, URL, last_event_id=position) as stream:
            welcome = (await stream.next()).data
            assert (welcome["resume"], welcome["reason"]) == ("snapshot", reason)


@pytest.mark.parametrize("after", ["x", "", "null", "0123abcd.7.", "%ff", "%", "9" * 5000])
@pytest.mark.parametrize("header", [False, True])
async def test_a_malformed_position_counts_as_lost(after: str, header: bool) -> None:
    async with served() as (gateway, http):
        await say(http, "hello")
        await answered(http)
        # An empty header counts as none: browsers without a position may send it.
        query = "" if header and after else f"?after={after}"
        headers = {"last-event-id": after} if header else {}
        async with Stream(gateway, URL + query, **headers) as stream:
            welcome = (await stream.next()).data
            assert (welcome["resume"], welcome["reason"]) == ("snapshot", "lost")
            assert (await stream.next()).type == "MESSAGES_SNAPSHOT"
        poll = (await http.get(URL + query, headers=headers | POLL)).json()
        assert (poll["resume"], poll["reason"]) == ("snapshot", "lost")
        assert len(poll["events"][0]["event"]["messages"]) == 2


async def test_a_malformed_last_event_id_does_not_fall_back_to_the_query() -> None:
    """The query is older than the header: a replay from there would repeat events."""
    async with served() as (gateway, http):
        position = (await say(http, "hello")).json()["position"]
        await answered(http)
        async with Stream(gateway, f"{URL}?after={position}", last_event_id="\xff") as stream:
            welcome = (await stream.next()).data
            assert (welcome["resume"], welcome["reason"]) == ("snapshot", "lost")


def test_an_idle_stream_gets_keepalive_comments() -> None:
    async def work() -> None:
        async with served() as (gateway, http):
            await say(http, "/help")
            async with Stream(gateway, URL) as stream:
                await stream.until("MESSAGES_SNAPSHOT")
                loop = asyncio.get_running_loop()
                began = loop.time()
                for _ in range(3):
                    async with asyncio.timeout(2 * KEEPALIVE):
                        chunk = await stream._chunks.get()
                    assert chunk == b": ping\n\n"
                assert loop.time() - began == pytest.approx(3 * KEEPALIVE)

    virtual_run(work())


async def test_a_stream_counts_as_a_connection_and_gets_broadcasts() -> None:
    async with served(admin_key="key", alone=True) as (gateway, http):
        await say(http, "/help")
        async with Stream(gateway, URL) as stream:
            await stream.until("MESSAGES_SNAPSHOT")
            stats = (await http.get("/stats")).json()
            assert (stats["total_connections"], stats["active_sessions"]) == (1, 1)
            reached = await http.post(
                "/broadcast", json={"content": "Hear!"}, headers={"x-api-key": "key"}
            )
            assert reached.json()["reached"] == 1
            notice = await stream.next()
            assert (notice.name, notice.id) == ("notice", None)
            assert notice.data["content"] == "Hear!"
        stats = (await http.get("/stats")).json()
        assert (stats["total_connections"], stats["active_sessions"]) == (0, 0)


async def test_the_backlog_of_notices_for_a_slow_consumer_is_bounded() -> None:
    async with served(alone=True) as (gateway, http):
        await say(http, "/help")
        async with Stream(gateway, URL) as stream:
            await stream.until("MESSAGES_SNAPSHOT")
            stream.pause()
            for _ in range(50):
                await gateway.broadcast("x" * 200_000)
            before = len(stream.raw)
            stream.resume()
            await say(http, "Hello")
            await stream.until("RUN_FINISHED")
            # The notice that was being sent, and the bounded backlog behind it.
            assert 0 < len(stream.raw) - before < 3 * MAX_UNREAD


async def test_the_number_of_streams_is_limited() -> None:
    async with served(limits=Limits(max_connections_per_address=1)) as (gateway, http):
        await say(http, "/help")
        async with Stream(gateway, URL), Stream(gateway, URL) as refused:
            assert refused.status == 429 and "retry-after" in refused.headers
        async with Stream(gateway, URL) as stream:
            assert stream.status == 200


async def test_a_stream_that_fails_to_begin_releases_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with served(limits=Limits(max_connections=1), alone=True) as (gateway, http):
        await say(http, "hello")
        await answered(http)
        with monkeypatch.context() as patched:
            patched.setattr(EventStreamEncoder, "control", lambda self, frame: 1 / 0)
            async with Stream(gateway, URL) as failed:
                assert failed.status == 500
        async with Stream(gateway, URL) as stream:
            assert stream.status == 200


async def test_a_stream_ends_with_bye_when_the_node_drains() -> None:
    async with served() as (gateway, http):
        await say(http, "/help")
        async with Stream(gateway, URL) as stream:
            await stream.until("MESSAGES_SNAPSHOT")
            await gateway.drain()
            bye = await stream.next()
            assert bye.name == "bye" and bye.data["retryable"] is True
            assert await stream.ended()


async def test_a_stream_ends_when_its_session_is_deleted() -> None:
    async with served() as (gateway, http):
        await say(http, "/help")
        async with Stream(gateway, URL) as stream:
            await stream.until("MESSAGES_SNAPSHOT")
            await http.delete(f"/sessions/{SESSION}")
            assert (await stream.next()).name == "bye"
            assert await stream.ended()
        assert (await http.get(URL)).status_code == 403


async def test_a_slow_consumer_reads_coalesced_deltas_later() -> None:
    words = [f"w{number} " for number in range(300)]
    gate = Gate()
    steps = [step for word in words for step in (word, Sleep(0))]
    # Without gathering the log has one delta per word, so coalescing happens on delivery.
    async with served(Script(gate, *steps), limits=Limits(gather=0.0)) as (gateway, http):
        await say(http, "go")
        await gate.reached()
        async with Stream(gateway, URL) as stream:
            await stream.until("RUN_STARTED")
            stream.pause()
            gate.open()
            await answered(http)
            stream.resume()
            await stream.until("RUN_FINISHED")
        epoch, records = await read_log(gateway.store, SESSION)
        check_client(epoch, records, frames(stream.sent), complete=True)
        read = [one.data["event"]["delta"] for one in stream.sent if one.type == CONTENT]
        assert "".join(read) == "".join(words)
        logged = sum(kind(msgspec.json.decode(record.data)) == CONTENT for record in records)
        assert (logged, len(read) < 50) == (300, True)


async def test_an_error_of_the_store_ends_the_stream_retryably() -> None:
    store = FaultyStore(MemoryStore())
    limits = Limits(tail_size=1, snapshot_messages=1)
    gate = Gate()
    agent = Script(gate, "x" * 2000)
    # Alone, as the polls of another node would use up the fault.
    async with served(agent, alone=True, store=store, limits=limits) as (gateway, http):
        first = (await say(http, "one")).json()["position"]
        gate.open()
        await answered(http)
        session = await gateway.sessions.find(SESSION)
        async with Stream(gateway, f"{URL}?after={first}") as stream:
            await stream.until("RUN_FINISHED")
        session.forget_tail()
        store.fail("read", times=1)
        refused = await http.get(f"{URL}?after={first}")
        assert refused.status_code == 503 and refused.json()["code"] == "unavailable"
        stream = Stream(gateway, URL)
        async with stream:
            await stream.until("MESSAGES_SNAPSHOT")
            store.fail("read", times=1)
            stream.pause()
            session.forget_tail()
            await say(http, "two", "m2")
            session.forget_tail()
            stream.resume()
            while (sent := await stream.next()).name == "message":
                session.forget_tail()
            assert sent.name == "bye" and sent.data["retryable"] is True
            assert await stream.ended()


async def test_a_stream_of_a_foreign_session_is_refused() -> None:
    keys = BearerKeys({"ann": "ann", "bob": "bob"})
    async with served(authenticate=keys) as (gateway, http):
        await say(client(gateway, authorization="Bearer ann"), "hello")
        async with Stream(gateway, URL, authorization="Bearer bob") as stream:
            assert stream.status == 403
        async with Stream(gateway, URL) as stream:
            assert stream.status == 401


async def test_a_connection_error_of_the_store_ends_the_stream_with_bye() -> None:
    """It may be of the class that a server raises when the client has disconnected."""
    store = FaultyStore(MemoryStore())
    async with served(store=store, limits=Limits(tail_size=1), alone=True) as (gateway, http):
        await say(http, "hello")
        await answered(http)
        async with Stream(gateway, f"/sessions/{SESSION}/events") as stream:
            await stream.until("MESSAGES_SNAPSHOT")
            store.fail("read", error=ConnectionResetError)
            await say(http, "again", "m2")
            assert (await stream.until("bye"))[-1].data["reason"] == "internal"
            assert await stream.ended()
