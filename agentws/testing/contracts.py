"""The contracts of the ports, as test suites to subclass.

::

    from agentws.testing.contracts import StoreContract

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def store(self):
            store = MyStore(...)
            await store.open()
            yield store
            await store.close()

The tests are ``async def`` and run on asyncio with anyio's pytest plugin. They need ``pytest`` and
``hypothesis``. Every test creates its own sessions and channels, so a shared server can be used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from secrets import token_hex

from ..bus import GAP, Bus, Listener
from .contract_base import eventually
from .contract_files import FileStoreContract
from .contract_leases import LeaseRules, RenewerRules
from .contract_log import AppendRules, ReadRules
from .contract_model import ModelRules
from .contract_nodes import NodeRules
from .contract_retention import RetentionRules
from .contract_search import SearchRules
from .contract_sessions import SessionRules
from .contract_topics import TopicRules
from .contract_versions import VersionRules
from .needs import pytest

__all__ = ["BusContract", "FileStoreContract", "SearchContract", "StoreContract"]


@pytest.mark.anyio
class StoreContract(
    SessionRules,
    RetentionRules,
    AppendRules,
    VersionRules,
    ReadRules,
    LeaseRules,
    NodeRules,
    RenewerRules,
    TopicRules,
    ModelRules,
):
    """Tests what :class:`agentws.store.Store` promises, as far as a healthy store can show it.

    Test yourself what happens when the technology fails: ``Unavailable``, and nothing is lost.
    Override the fixture ``store``, and ``peer`` (a second store over the same data) if the
    technology can be shared: races are then run between the two.
    """


@pytest.mark.anyio
class SearchContract(SearchRules):
    """Tests :meth:`agentws.store.Store.search`, which a store need not offer.

    It has the fixtures of :class:`StoreContract`: a test class may inherit both.
    """


@pytest.mark.anyio
class BusContract:
    """Tests what :class:`agentws.bus.Bus` promises.

    Override the fixture ``bus``, and ``peer`` (another node's bus) if the bus reaches other
    processes.
    """

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    async def bus(self) -> Bus:
        """An open bus. Override it with an async fixture that yields it and closes it."""
        raise NotImplementedError("override the fixture `bus`")

    @pytest.fixture
    async def peer(self, bus: Bus) -> Bus:
        """A second open bus that reaches the first one."""
        return bus

    async def test_a_message_reaches_every_subscriber(self, bus: Bus, peer: Bus) -> None:
        channel = token_hex(8)
        heard: list[tuple[str, str, bytes]] = []
        _hear(bus, channel, lambda name, payload: heard.append(("one", name, payload)))
        _hear(peer, channel, lambda name, payload: heard.append(("two", name, payload)))
        await self._publish_until(peer, channel, b"ding \x00\xff", lambda: len(set(heard)) >= 2)
        assert {("one", channel, b"ding \x00\xff"), ("two", channel, b"ding \x00\xff")} == set(
            heard
        )

    async def test_a_subscriber_gets_no_message_of_another_channel(
        self, bus: Bus, peer: Bus
    ) -> None:
        mine, other = token_hex(8), token_hex(8)
        heard: list[bytes] = []
        of_other_channel: list[bytes] = []
        _hear(bus, mine, lambda _, payload: heard.append(payload))
        _hear(bus, other, lambda _, payload: of_other_channel.append(payload))
        await self._publish_until(peer, mine, b"for me", lambda: bool(heard))
        assert of_other_channel == []

    async def test_the_messages_of_one_publisher_keep_their_order(
        self, bus: Bus, peer: Bus
    ) -> None:
        channel = token_hex(8)
        heard: list[int] = []
        _hear(bus, channel, lambda _, payload: heard.append(int(payload)))
        await self._publish_until(peer, channel, b"-1", lambda: bool(heard))
        for number in range(200):
            peer.publish(channel, b"%d" % number)
        await self._publish_until(peer, channel, b"1000", lambda: heard[-1] == 1000)
        numbers = [number for number in heard if 0 <= number < 1000]
        assert numbers == sorted(set(numbers))
        if bus.lossless:
            assert numbers == list(range(200))

    async def test_unsubscribing_ends_only_that_subscription(self, bus: Bus, peer: Bus) -> None:
        channel = token_hex(8)
        heard: list[str] = []
        stays: list[bytes] = []

        def listen(_: str, payload: bytes) -> None:
            heard.append(payload.decode())

        ends = _hear(bus, channel, listen)
        also = _hear(bus, channel, listen)
        _hear(bus, channel, lambda _, payload: stays.append(payload))
        ends()
        ends()
        await self._publish_until(peer, channel, b"once", lambda: bool(heard and stays))
        also()
        stays.clear()
        count = len(heard)
        await self._publish_until(peer, channel, b"never", lambda: bool(stays))
        assert len(heard) == count

    async def test_messages_published_after_subscribing_are_received(
        self, bus: Bus, peer: Bus
    ) -> None:
        channel = token_hex(8)
        peer.publish(channel, b"before anyone subscribed")
        heard: list[bytes] = []
        _hear(bus, channel, lambda _, payload: heard.append(payload))
        await self._publish_until(peer, channel, b"now", lambda: b"now" in heard)

    async def test_closing_twice_does_nothing(self, bus: Bus) -> None:
        _hear(bus, token_hex(8), lambda *_: None)
        await bus.close()
        await bus.close()
        bus.publish(token_hex(8), b"never raises")

    async def _publish_until(
        self, bus: Bus, channel: str, payload: bytes, heard: Callable[[], bool]
    ) -> None:
        """Publishes until it is received: once on a lossless bus, repeatedly on any other."""
        bus.publish(channel, payload)

        async def received() -> bool:
            if not heard() and not bus.lossless:
                bus.publish(channel, payload)
            await asyncio.sleep(0)
            return heard()

        await eventually(received)


def _hear(bus: Bus, channel: str, listener: Listener) -> Callable[[], None]:
    """Subscribes ``listener`` to what was published: a bus may deliver ``GAP`` at any time."""

    def hear(name: str, payload: bytes) -> None:
        if payload != GAP:
            listener(name, payload)

    return bus.subscribe(channel, hear)
