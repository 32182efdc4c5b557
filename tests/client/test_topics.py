"""Topics in the Python client: posts, resuming after reconnects, refusals, and ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentws import AgentGateway, Limits, MemoryStore
from agentws.client import Chat, ChatClosed, LogEvent, LogReset, Notice, Subscription
from agentws.errors import BadRequest, Conflict, Forbidden, NotSupported, TooMany
from agentws.protocol.events import NoticePosted
from agentws.testing import open_transport
from agentws.testing.faults import FaultyStore
from tests.topics.stage import nodes
from tests.virtual import anyio_backend as anyio_backend

from .fakes import FAST, until


class Network:
    """Opens connections to any of several nodes, and loses them."""

    def __init__(self, *gateways: AgentGateway) -> None:
        self.gateways = gateways
        self.opened: list[Any] = []

    async def open(self, opening: Any) -> Any:
        gateway = self.gateways[len(self.opened) % len(self.gateways)]
        transport = await open_transport(gateway)(opening)
        self.opened.append(transport)
        return transport

    def drop(self) -> None:
        self.opened[-1].drop()

    def chat(self, **options: Any) -> Chat:
        return Chat(self.open, timing=FAST, **options)


async def contents(subscription: Subscription, count: int) -> list[str]:
    """The next ``count`` updates: the content of posts, ``reset:REASON``, ``notice:CONTENT``."""
    found = []
    async with asyncio.timeout(10):
        for _ in range(count):
            match await anext(subscription):
                case LogEvent(event=NoticePosted(content=content)):
                    found.append(content)
                case LogReset(reason=reason):
                    found.append(f"reset:{reason}")
                case Notice(content=content, topic=topic):
                    assert topic == subscription.topic
                    found.append(f"notice:{content}")
                case other:
                    raise AssertionError(other)
    return found


async def test_posts_and_notices_of_a_topic_are_received() -> None:
    async with nodes() as [gateway], Network(gateway).chat() as chat:
        await gateway.topic("orders").post("one", level="warning", metadata={"n": 1})
        orders = await chat.subscribe("orders")
        [update] = [await anext(orders)]
        assert isinstance(update, LogEvent) and isinstance(update.event, NoticePosted)
        assert (update.event.level, update.event.metadata) == ("warning", {"n": 1})
        assert orders.position == update.position
        await gateway.topic("orders").notify("now")
        await gateway.topic("other").notify("not for us")
        await gateway.topic("orders").post("two")
        assert await contents(orders, 2) == ["notice:now", "two"]
        assert await chat.ask("hello") == "fine"


async def test_every_post_is_received_once_over_reconnects_to_other_nodes() -> None:
    async with nodes(2) as gateways:
        network = Network(*gateways)
        async with network.chat() as chat:
            orders = await chat.subscribe("orders")
            for number in range(30):
                await gateways[number % 2].topic("orders").post(f"{number}")
                if number % 4 == 0:
                    network.drop()
                    await asyncio.sleep(0.002)
            assert await contents(orders, 30) == [f"{number}" for number in range(30)]


async def test_a_later_chat_resumes_at_the_position_of_an_earlier_one() -> None:
    async with nodes() as [gateway]:
        orders = gateway.topic("orders")
        first = await orders.post("one")
        await orders.post("two")
        async with Network(gateway).chat() as chat:
            assert await contents(await chat.subscribe("orders", after=first), 1) == ["two"]
        async with Network(gateway).chat() as chat:
            subscription = await chat.subscribe("orders", after="nonsense")
            assert await contents(subscription, 3) == ["reset:lost", "one", "two"]


async def test_a_client_that_was_away_for_too_long_is_told_so() -> None:
    async with nodes(limits=Limits(topic_posts=4)) as [gateway]:
        network = Network(gateway)
        async with network.chat() as chat:
            orders = await chat.subscribe("orders")
            await gateway.topic("orders").post("first")
            assert await contents(orders, 1) == ["first"]
            network.drop()
            for number in range(20):
                await gateway.topic("orders").post(f"{number}")
            # Whether it was away is up to the scheduler; what it has is whole in any case.
            await until(lambda: len(network.opened) == 2)
            found = [await contents(orders, 1)]
            while found[-1] != ["19"]:
                found.append(await contents(orders, 1))
            posts = [one for [one] in found]
            if "reset:trimmed" in posts:
                posts = posts[posts.index("reset:trimmed") + 1 :]
            assert posts == [f"{number}" for number in range(int(posts[0]), 20)]


@pytest.mark.parametrize(
    ("topic", "error"), [("secret", Forbidden), ("no name", BadRequest), ("", BadRequest)]
)
async def test_a_refusal_is_raised(topic: str, error: type[Exception]) -> None:
    async with nodes() as [gateway], Network(gateway).chat() as chat:
        for _ in range(2):
            with pytest.raises(error):
                await chat.subscribe(topic)
        assert await chat.ask("hello") == "fine"


async def test_a_gateway_without_topics_and_a_connection_with_too_many_refuse() -> None:
    async with nodes(may_subscribe=None) as [gateway], Network(gateway).chat() as chat:
        with pytest.raises(NotSupported):
            await chat.subscribe("orders")
    async with (
        nodes(limits=Limits(max_subscriptions=1)) as [gateway],
        Network(gateway).chat() as chat,
    ):
        await chat.subscribe("orders")
        with pytest.raises(TooMany):
            await chat.subscribe("other")
        with pytest.raises(Conflict):
            await chat.subscribe("orders")


async def test_permission_that_was_withdrawn_ends_the_iterator_with_the_refusal() -> None:
    allowed = True

    def may_subscribe(identity: object, topic: str) -> bool:
        return allowed

    async with nodes(may_subscribe=may_subscribe) as [gateway]:
        network = Network(gateway)
        async with network.chat() as chat:
            orders = await chat.subscribe("orders")
            allowed = False
            network.drop()
            with pytest.raises(Forbidden):
                await contents(orders, 1)


async def test_a_store_that_fails_for_a_moment_delays_a_subscription(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agentws.client.topics.RETRY_AFTER", 0.01)
    store = FaultyStore(MemoryStore())
    async with nodes(store=store) as [gateway], Network(gateway).chat() as chat:
        store.fail("load", times=2)
        orders = await chat.subscribe("orders")
        await gateway.topic("orders").post("one")
        assert await contents(orders, 1) == ["one"]


async def test_unsubscribing_ends_the_iterator_and_the_topic_can_be_followed_again() -> None:
    async with nodes() as [gateway], Network(gateway).chat() as chat:
        orders = await chat.subscribe("orders")
        for _ in range(2):
            await orders.unsubscribe()
        assert gateway.feeds.audience("orders") == ()
        assert [one async for one in orders] == []
        await gateway.topic("orders").post("one")
        again = await chat.subscribe("orders", after=orders.position)
        assert await contents(again, 1) == ["one"]


async def test_leaving_the_chat_ends_the_iterator() -> None:
    async with nodes() as [gateway]:
        async with Network(gateway).chat() as chat:
            orders = await chat.subscribe("orders")
        assert [one async for one in orders] == []
        await orders.unsubscribe()
        with pytest.raises(ChatClosed):
            await chat.subscribe("other")


async def test_a_cancelled_subscription_is_ended_on_the_server_too() -> None:
    deciding = asyncio.Event()

    async def may_subscribe(identity: object, topic: str) -> bool:
        await deciding.wait()
        return True

    async with nodes(may_subscribe=may_subscribe) as [gateway], Network(gateway).chat() as chat:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await chat.subscribe("orders")
        deciding.set()
        # A connection handles its frames in order, so the subscription has begun and ended by then.
        assert await chat.ask("hello") == "fine"
        assert gateway.feeds.audience("orders") == ()
        orders = await chat.subscribe("orders")
        await gateway.topic("orders").post("one")
        assert await contents(orders, 1) == ["one"]
