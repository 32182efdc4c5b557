"""Topics over the native wire: who may follow them, replays, snapshots, limits, slow readers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from agentws import Limits, MemoryStore
from agentws.protocol.position import Position
from agentws.store import PAGE, Record
from agentws.testing.agents import Gate, Script
from agentws.testing.connect import Client, connect, kind
from agentws.testing.faults import FaultyStore

from .stage import nodes


async def seen(client: Client, topic: str, count: int) -> list[str]:
    """The posts that the client has read, once there are ``count``."""
    async with asyncio.timeout(10):
        while len(client.posts(topic)) < count:
            await client.receive()
    return client.posts(topic)


async def test_a_subscriber_gets_what_was_posted_and_what_is_posted_later() -> None:
    async with nodes() as [gateway]:
        orders = gateway.topic("orders")
        first = await orders.post("one", level="warning", metadata={"order": 7})
        async with connect(gateway) as client:
            await client.until("welcome")
            answer = await client.subscribe("orders")
            assert answer["type"] == "subscribed" and answer["topic"] == "orders"
            assert (answer["resume"], answer["reason"]) == ("snapshot", "no_position")
            assert answer["head"] == first
            frame = await client.until("notice.posted")
            assert frame["id"] == first and frame["topic"] == "orders" and "run" not in frame
            event = frame["event"]
            assert (event["content"], event["level"]) == ("one", "warning")
            assert event["metadata"] == {"order": 7} and event["timestamp"] > 0
            last = await orders.post("two")
            assert await seen(client, "orders", 2) == ["one", "two"]
            assert client.topics["orders"] == last
            assert client.position is None


async def test_a_subscriber_that_was_away_gets_what_it_has_missed() -> None:
    async with nodes() as [gateway]:
        orders = gateway.topic("orders")
        async with connect(gateway) as client:
            await client.subscribe("orders")
            await orders.post("one")
            await seen(client, "orders", 1)
            client.drop()
            for content in ("two", "three"):
                await orders.post(content)
            await client.reconnect()
            answer = await client.subscribe("orders", after=client.topics["orders"])
            assert answer["resume"] == "replay" and "reason" not in answer
            assert await seen(client, "orders", 3) == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ("nonsense", "lost"),
        ("", "lost"),
        ("other.1.0123456789abcdef", "epoch"),
        ("{epoch}.9.0123456789abcdef", "future"),
        ("{epoch}.1.0123456789abcdef", "diverged"),
    ],
)
async def test_a_position_that_is_not_good_gets_a_snapshot_and_the_reason(
    after: str, reason: str
) -> None:
    async with nodes() as [gateway]:
        position = await gateway.topic("orders").post("one")
        async with connect(gateway) as client:
            given = after.replace("{epoch}", position.split(".")[0])
            answer = await client.subscribe("orders", after=given)
            assert (answer["resume"], answer["reason"]) == ("snapshot", reason)
            assert await seen(client, "orders", 1) == ["one"]


async def test_topics_have_positions_of_their_own_and_do_not_mix() -> None:
    async with nodes() as [gateway]:
        async with connect(gateway) as client:
            for topic in ("a", "b"):
                await client.subscribe(topic)
            for number in range(10):
                await gateway.topic("ab"[number % 2]).post(f"{number}")
            await seen(client, "a", 5)
            assert await seen(client, "b", 5) == ["1", "3", "5", "7", "9"]
            assert client.posts("a") == ["0", "2", "4", "6", "8"]
            await client.say("hello", "m1")
            assert await client.answer() == "fine"


async def test_an_unsubscribed_topic_sends_nothing_more() -> None:
    async with nodes() as [gateway]:
        async with connect(gateway) as client:
            await client.subscribe("orders")
            for id in ("u1", "u2"):
                answer = await client.ask({"type": "unsubscribe", "id": id, "topic": "orders"})
                assert answer == {"type": "unsubscribed", "reply": id, "topic": "orders"}
            await gateway.topic("orders").post("one")
            assert (await client.ask({"type": "ping", "id": "p"}))["type"] == "pong"
            assert client.posts("orders") == []
            assert gateway.feeds.audience("orders") == ()


async def test_a_forbidden_topic_can_not_be_told_from_one_that_does_not_exist() -> None:
    async with nodes() as [gateway]:
        async with connect(gateway) as client:
            refused = [await client.subscribe("secret")]
            await gateway.topic("secret").post("hush")
            refused.append(await client.subscribe("secret", after="e.1.0123456789abcdef"))
            assert refused[0] == refused[1]
            assert (refused[0]["code"], refused[0]["retryable"]) == ("forbidden", False)
            assert client.posts("secret") == []


async def test_without_permission_from_the_host_nobody_may_subscribe() -> None:
    async with nodes(may_subscribe=None) as [gateway], connect(gateway) as client:
        assert (await client.subscribe("orders"))["code"] == "not_supported"


@pytest.mark.parametrize("answer", [None, 1, "yes", False])
async def test_only_true_allows_a_subscription(answer: Any) -> None:
    async def allow(identity: object, topic: str) -> Any:
        return answer

    async with nodes(may_subscribe=allow) as [gateway], connect(gateway) as client:
        assert (await client.subscribe("orders"))["code"] == "forbidden"


async def test_a_host_that_fails_to_decide_refuses_and_the_connection_lives_on() -> None:
    def allow(identity: object, topic: str) -> bool:
        raise RuntimeError("as ordered")

    async with nodes(may_subscribe=allow) as [gateway], connect(gateway) as client:
        assert (await client.subscribe("orders"))["code"] == "internal"
        assert (await client.ask({"type": "ping", "id": "p"}))["type"] == "pong"


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "topic:a", "é", "x" * 101, "a\n"])
@pytest.mark.parametrize("type", ["subscribe", "unsubscribe"])
async def test_a_name_that_no_topic_can_have_is_refused(name: str, type: str) -> None:
    async with nodes() as [gateway], connect(gateway) as client:
        error = await client.ask({"type": type, "id": "s1", "topic": name})
        assert (error["code"], error["retryable"]) == ("bad_request", False)
        assert "1 to 100" in error["expected"]


async def test_a_connection_may_follow_a_limited_number_of_topics() -> None:
    async with nodes(limits=Limits(max_subscriptions=2)) as [gateway], connect(gateway) as client:
        for topic in ("a", "b", "b", "a"):
            assert (await client.subscribe(topic))["type"] == "subscribed"
        refused = await client.subscribe("c")
        assert refused["code"] == "too_many" and refused["expected"] == "at most 2"
        await client.ask({"type": "unsubscribe", "id": "u", "topic": "a"})
        assert (await client.subscribe("c"))["type"] == "subscribed"


async def test_a_second_subscription_moves_the_first_one() -> None:
    async with nodes() as [gateway], connect(gateway) as client:
        first = await gateway.topic("orders").post("one")
        await gateway.topic("orders").post("two")
        await client.subscribe("orders")
        await seen(client, "orders", 2)
        await client.subscribe("orders", after=first)
        assert await seen(client, "orders", 3) == ["one", "two", "two"]
        await gateway.topic("orders").post("three")
        assert await seen(client, "orders", 4) == ["one", "two", "two", "three"]


async def test_a_slow_reader_costs_no_queue_and_misses_nothing() -> None:
    async with nodes() as [gateway], connect(gateway) as client:
        await client.subscribe("orders")
        client.pause()
        contents = [f"{number} " + "x" * 3000 for number in range(200)]
        for content in contents:
            await gateway.topic("orders").post(content)
        await gateway.broadcast("to everybody")
        client.resume()
        assert await seen(client, "orders", len(contents)) == contents


async def test_a_reader_whose_place_was_trimmed_while_it_did_not_read_is_told_so() -> None:
    limits = Limits(topic_posts=8, tail_size=1000)
    async with nodes(limits=limits) as [gateway], connect(gateway) as client:
        await client.subscribe("orders")
        await gateway.topic("orders").post("first")
        await seen(client, "orders", 1)
        client.pause()
        for number in range(100):
            await gateway.topic("orders").post(f"{number:03} " + "x" * 500)
        client.resume()
        again = await client.until(lambda frame: kind(frame) == "subscribed")
        assert (again["resume"], again["reason"]) == ("snapshot", "trimmed")
        assert "reply" not in again
        start = len(client.posts("orders"))
        await client.until(lambda frame: client.topics["orders"] == again["head"])
        kept = [content[:3] for content in client.posts("orders")[start:]]
        assert kept == [f"{number:03}" for number in range(100 - len(kept), 100)]
        assert 8 <= len(kept) <= 11


async def test_events_of_the_session_do_not_wait_for_a_host_that_decides_slowly() -> None:
    deciding = asyncio.Event()

    async def allow(identity: object, topic: str) -> bool:
        await deciding.wait()
        return True

    gate = Gate()
    script = Script(gate, "fine")
    async with nodes(agent=script, may_subscribe=allow) as [one], connect(one) as client:
        await client.say("hello", "m1")
        await gate.reached()
        await client.send({"type": "subscribe", "id": "s", "topic": "orders"})
        await client.settle()
        gate.open()
        assert await client.answer() == "fine"
        deciding.set()
        await client.until("subscribed")


async def test_a_post_that_comes_while_a_message_is_handled_is_written_afterwards() -> None:
    handling, handled = asyncio.Event(), asyncio.Event()

    async def authorize(identity: object, session: object, action: str) -> bool:
        if action == "write":
            handling.set()
            await handled.wait()
        return True

    async with nodes(authorize=authorize) as [gateway], connect(gateway) as client:
        await client.subscribe("orders")
        await client.send({"type": "cancel", "id": "c"})
        await handling.wait()
        await gateway.topic("orders").post("one")
        assert client.posts("orders") == []
        assert await seen(client, "orders", 1) == ["one"]
        handled.set()


async def test_a_topic_goes_on_after_a_long_replay_of_the_session() -> None:
    limits = Limits(tail_size=1000)
    async with nodes(limits=limits) as [gateway], connect(gateway) as client:
        await client.until("welcome")
        assert client.session is not None
        await client.subscribe("orders")
        client.pause()
        for number in range(60):
            await gateway.session(client.session).push(f"{number} " + "x" * 3000)
        await gateway.topic("orders").post("one")
        client.resume()
        assert await seen(client, "orders", 1) == ["one"]
        assert len(client.events()) == 60


class HoldingStore(MemoryStore):
    """Holds the reads of one session's log back."""

    immediate = False
    held: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.reading, self.go_on = asyncio.Event(), asyncio.Event()

    async def read(
        self, session: str, *, after: Position | None = None, limit: int = PAGE
    ) -> Sequence[Record]:
        # A single record is read to check a position.
        if session == self.held and limit > 1:
            self.reading.set()
            await self.go_on.wait()
        return await super().read(session, after=after, limit=limit)


async def test_a_post_that_comes_during_a_replay_of_the_session_is_written_afterwards() -> None:
    store = HoldingStore()
    async with nodes(store=store, limits=Limits(tail_size=1000)) as [gateway]:
        async with connect(gateway) as client:
            await client.until("welcome")
            assert client.session is not None
            first = await gateway.session(client.session).push("first")
            for _ in range(10):
                await gateway.session(client.session).push("x" * 500)
        store.held = client.session
        client.position = first
        await client.open()
        await client.until("welcome")
        await store.reading.wait()
        await client.send({"type": "subscribe", "id": "again", "topic": "orders"})
        await gateway.topic("orders").post("one")
        await client.settle()
        assert client.posts("orders") == []
        store.go_on.set()
        assert await seen(client, "orders", 1) == ["one"]
        await client.aclose()


async def test_a_store_that_fails_refuses_the_subscription_for_now() -> None:
    store = FaultyStore(MemoryStore())
    async with nodes(store=store) as [gateway], connect(gateway) as client:
        await client.until("welcome")
        store.fail("load", times=1)
        refused = await client.subscribe("orders")
        assert (refused["code"], refused["retryable"]) == ("unavailable", True)
        assert gateway.feeds.audience("orders") == ()
        assert (await client.subscribe("orders"))["type"] == "subscribed"


async def test_a_connection_that_leaves_leaves_its_topics() -> None:
    async with nodes() as [gateway]:
        async with connect(gateway) as client:
            await client.subscribe("orders")
            assert len(gateway.feeds.audience("orders")) == 1
        assert gateway.feeds.audience("orders") == ()
        log = await gateway.feeds.log("orders")
        assert log.followers == ()


async def test_a_crowd_of_subscribers_is_rung_without_blocking_the_loop() -> None:
    async with nodes(limits=Limits(max_connections_per_address=10_000)) as [gateway]:
        clients = [await Client(gateway).open() for _ in range(300)]
        for client in clients:
            await client.subscribe("orders")
        for content in ("one", "two", "three"):
            await gateway.topic("orders").post(content)
        for client in clients:
            assert await seen(client, "orders", 3) == ["one", "two", "three"]
        for client in clients:
            await client.aclose()


async def test_the_agent_of_the_session_is_not_told_of_topics() -> None:
    script = Script("fine")
    async with nodes(agent=script) as [gateway], connect(gateway) as client:
        await client.subscribe("orders")
        await gateway.topic("orders").post("one")
        await seen(client, "orders", 1)
        assert script.texts == [] and client.events() == []
