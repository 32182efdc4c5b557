from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agentws.backends.local import LocalBus
from agentws.testing.contracts import BusContract
from agentws.testing.faults import LossyBus


class TestLossyBus(BusContract):
    @pytest.fixture
    async def bus(self) -> AsyncIterator[LossyBus]:
        bus = LossyBus(LocalBus(), drop=0.5, seed=1)
        await bus.open()
        yield bus
        await bus.close()


def delivered_through(bus: LossyBus) -> list[bytes]:
    delivered: list[bytes] = []
    bus.subscribe("c", lambda _, payload: delivered.append(payload))
    for number in range(100):
        bus.publish("c", b"%d" % number)
    assert bus.lost == bus.published - len(delivered)
    return delivered


def test_the_same_seed_loses_the_same_messages() -> None:
    delivered = delivered_through(LossyBus(LocalBus(), drop=0.5, seed=3))
    assert delivered == delivered_through(LossyBus(LocalBus(), drop=0.5, seed=3))
    assert delivered != delivered_through(LossyBus(LocalBus(), drop=0.5, seed=4))


def test_a_lossy_bus_can_lose_all_messages_or_none() -> None:
    assert delivered_through(LossyBus(LocalBus())) == []
    assert len(delivered_through(LossyBus(LocalBus(), drop=0))) == 100
