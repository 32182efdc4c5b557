"""The delay of the event loop, as `/readyz` reports it."""

from __future__ import annotations

import asyncio
import time

import pytest
from starlette.applications import Starlette

from agentws import mount_agent_gateway
from agentws.gateway.loop_lag import TICK, WINDOW, LoopLag
from agentws.testing.agents import Script
from agentws.testing.connect import running
from tests.http.calling import client


class TestRealTime:
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_a_blocked_loop_is_reported(self) -> None:
        gateway = mount_agent_gateway(Starlette(), Script("fine"))
        async with running(gateway):
            time.sleep(TICK + 0.3)  # noqa: ASYNC251 - the loop is to be blocked
            await asyncio.sleep(0.01)
            lag = (await client(gateway).get("/readyz")).json()["loop_lag_ms"]
            assert lag >= 250


async def test_a_delay_is_forgotten_after_a_while() -> None:
    lag = LoopLag()
    loop = asyncio.get_running_loop()
    lag.begin()
    assert lag._timer is not None
    lag._timer.cancel()
    lag._tick(loop, loop.time() - 0.7)
    assert lag.seconds == pytest.approx(0.7)
    await asyncio.sleep(WINDOW - TICK)
    assert lag.seconds == pytest.approx(0.7)
    await asyncio.sleep(2 * WINDOW)
    assert lag.seconds < 0.1
    lag.end()


async def test_it_costs_one_timer_and_no_task() -> None:
    lag = LoopLag()
    tasks = asyncio.all_tasks()
    lag.begin()
    assert asyncio.all_tasks() == tasks
    await asyncio.sleep(100 * TICK)
    assert asyncio.all_tasks() == tasks
    lag.end()
    assert lag._timer is None
