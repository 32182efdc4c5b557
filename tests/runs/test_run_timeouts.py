"""Runs that take too long are ended in their order, by one timer."""

from __future__ import annotations

import asyncio
from typing import cast

from agentws.runs.run import Run
from agentws.runs.timeouts import RunTimeouts
from agentws.testing.virtual import virtual_run


def some_runs(count: int) -> list[Run]:
    return [cast(Run, object()) for _ in range(count)]


def test_a_run_that_is_active_for_too_long_expires_once_and_an_ended_one_never() -> None:
    async def main() -> None:
        expired = list[tuple[float, Run]]()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        first, ended, last = some_runs(3)
        timeouts = RunTimeouts(10.0, lambda run: expired.append((loop.time() - begun, run)))
        timeouts.add(first, loop.time())
        await asyncio.sleep(3.0)
        timeouts.add(ended, loop.time())
        timeouts.add(last, loop.time())
        await asyncio.sleep(1.0)
        timeouts.remove(ended)
        timeouts.remove(ended)
        await asyncio.sleep(60.0)
        assert [(round(at, 3), run) for at, run in expired] == [(10.0, first), (13.0, last)]
        assert len(timeouts) == 0

    virtual_run(main())


def test_a_run_that_begins_after_the_others_have_ended_still_expires() -> None:
    async def main() -> None:
        expired = list[Run]()
        loop = asyncio.get_running_loop()
        first, second = some_runs(2)
        timeouts = RunTimeouts(10.0, expired.append)
        timeouts.add(first, loop.time())
        timeouts.remove(first)
        await asyncio.sleep(15.0)
        timeouts.add(second, loop.time())
        await asyncio.sleep(11.0)
        assert expired == [second]

    virtual_run(main())


def test_nothing_expires_after_a_close() -> None:
    async def main() -> None:
        expired = list[Run]()
        timeouts = RunTimeouts(1.0, expired.append)
        timeouts.add(some_runs(1)[0], asyncio.get_running_loop().time())
        timeouts.close()
        await asyncio.sleep(5.0)
        assert expired == []

    virtual_run(main())
