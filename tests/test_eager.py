"""Eager tasks: the whole coroutine runs in one task, on every version of Python."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import anyio
import pytest

from agentws.tasks.tasks import Tasks
from agentws.transports.outlet import Outlet


async def nothing() -> None:
    pass


async def test_eager_coroutines_that_start_others_leave_no_task_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks, before = Tasks(), len(asyncio.all_tasks())

    async def outer(depth: int) -> None:
        if depth:
            tasks.start(outer(depth - 1), name="inner")
            tasks.start(nothing(), name="inner")

    for _ in range(50):
        tasks.start(outer(3), name="outer")
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) - before <= 5
    await tasks.aclose(grace=1.0)
    await asyncio.sleep(0)
    gc.collect()
    assert len(asyncio.all_tasks()) == before
    assert "destroyed" not in caplog.text


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("how", ["asyncio.timeout", "anyio.fail_after", "asyncio.wait_for"])
async def test_an_expired_deadline_ends_the_first_wait_of_an_eager_task(
    how: str, used: bool
) -> None:
    tasks, log = Tasks(), list[str]()

    async def send() -> None:
        try:
            match how:
                case "asyncio.timeout":
                    async with asyncio.timeout(0):
                        await asyncio.sleep(1)
                case "anyio.fail_after":
                    with anyio.fail_after(0):
                        await asyncio.sleep(1)
                case _:
                    await asyncio.wait_for(asyncio.sleep(1), 0)
        except TimeoutError:
            log.append("timed out")
        finally:
            log.append("closed")

    for _ in range(3):
        if used:
            tasks.start(nothing(), name="before")
            await asyncio.sleep(0)
        task = tasks.start(send(), name="a slow peer")
        if task is not None:
            await task
        assert log == ["timed out", "closed"]
        log.clear()
    await tasks.aclose(grace=1.0)


async def test_cancelling_an_eager_task_cancels_the_future_it_waits_for() -> None:
    tasks, log = Tasks(), list[str]()
    inner: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def send() -> None:
        try:
            await inner
        except asyncio.CancelledError as error:
            log.append(f"cancelled: {error}")
            raise

    task = tasks.start(send(), name="a slow peer")
    assert task is not None
    task.cancel("the owner closes")
    await asyncio.wait({task})
    assert (task.cancelled(), inner.cancelled()) == (True, True)
    assert log == ["cancelled: the owner closes"]
    await tasks.aclose(grace=1.0)


@pytest.mark.parametrize("waits", [True, False])
async def test_a_coroutine_may_cancel_its_own_task_in_its_first_step(waits: bool) -> None:
    tasks = Tasks()

    async def cancelling() -> None:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        if waits:
            await asyncio.sleep(1)

    for _ in range(3):
        try:
            task = tasks.start(cancelling(), name="cancels itself")
        except asyncio.CancelledError:
            continue
        assert task is not None
        await asyncio.wait({task})
        assert task.cancelled()
    # The cancellation does not affect later tasks.
    assert tasks.start(nothing(), name="next") is None
    task = tasks.start(asyncio.sleep(0, "fine"), name="next")
    assert task is not None
    assert await task == "fine"
    await tasks.aclose(grace=1.0)


async def test_an_outlet_is_broken_when_a_send_is_cancelled_at_once() -> None:
    async def send(message: Any) -> None:
        raise asyncio.CancelledError

    outlet = Outlet(send, Tasks(), extension=None)
    outlet.write(b"{}")
    assert outlet.broken
