"""The slots of active runs: never more than there are, in order, and none is lost."""

from __future__ import annotations

import asyncio
import random

import pytest

from agentws.runs.run_slots import RunSlots


async def test_a_free_slot_is_taken_at_once_and_a_full_node_has_none() -> None:
    slots = RunSlots(2)
    assert slots.take() and slots.take()
    assert not slots.take()
    slots.release()
    assert slots.take()
    assert slots.taken == 2


async def test_tasks_that_wait_get_the_slots_in_the_order_in_which_they_came() -> None:
    slots, order = RunSlots(1), list[int]()
    assert slots.take()

    async def wait(number: int) -> None:
        await slots.wait()
        order.append(number)
        slots.release()

    tasks = [asyncio.create_task(wait(number)) for number in range(5)]
    await asyncio.sleep(0)
    slots.release()
    assert not slots.take(), "those that wait come first"
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]
    assert slots.taken == 0


async def test_a_slot_that_was_handed_to_a_cancelled_task_goes_to_the_next_one() -> None:
    slots = RunSlots(1)
    assert slots.take()
    first, second = asyncio.create_task(slots.wait()), asyncio.create_task(slots.wait())
    await asyncio.sleep(0)
    slots.release()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    slots.release()
    assert slots.taken == 0


@pytest.mark.parametrize("seed", range(20))
async def test_there_are_never_more_runs_than_slots_whoever_is_cancelled(seed: int) -> None:
    chance, slots = random.Random(seed), RunSlots(3)
    active = 0

    async def work() -> None:
        nonlocal active
        if not slots.take():
            await slots.wait()
        active += 1
        try:
            assert active <= 3
            await asyncio.sleep(0)
        finally:
            active -= 1
            slots.release()

    tasks = [asyncio.create_task(work()) for _ in range(30)]
    while not all(task.done() for task in tasks):
        if chance.random() < 0.5:
            chance.choice(tasks).cancel()
        await asyncio.sleep(0)
    assert not [task for task in tasks if not task.cancelled() and task.exception()]
    assert slots.taken == 0
