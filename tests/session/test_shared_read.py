"""Coalescing of reads: one read at a time, shared by its callers, without starvation."""

from __future__ import annotations

import asyncio

import pytest

from agentws.errors import Unavailable
from agentws.sessions.shared_read import SharedRead


class Log:
    """A log that grows, and takes a second to read."""

    def __init__(self) -> None:
        self.end = 0
        self.known = 0
        self.reads = 0
        self.reading = 0
        self.failures = 0

    async def read(self) -> None:
        self.reads += 1
        self.reading += 1
        assert self.reading == 1, "two reads at a time"
        end = self.end
        try:
            await asyncio.sleep(1.0)
            if self.failures:
                self.failures -= 1
                raise Unavailable()
            self.known = end
        finally:
            self.reading -= 1


async def test_every_caller_gets_a_read_that_began_after_its_call() -> None:
    log, reads = Log(), SharedRead()

    async def ask(after: float) -> None:
        await asyncio.sleep(after)
        log.end += 1
        wanted = log.end
        await reads.run(log.read)
        assert log.known >= wanted

    await asyncio.gather(*(ask(0.3 * number) for number in range(10)))
    assert log.reads <= 6


async def test_no_caller_waits_for_more_than_two_reads() -> None:
    log, reads, loop = Log(), SharedRead(), asyncio.get_running_loop()

    async def ring() -> None:
        while True:
            log.end += 1
            ringing.add(asyncio.create_task(reads.run(log.read)))
            await asyncio.sleep(0.1)

    ringing: set[asyncio.Task[None]] = set()
    growing = asyncio.create_task(ring())
    await asyncio.sleep(0.55)
    for _ in range(5):
        began, wanted = loop.time(), log.end
        await reads.run(log.read)
        assert log.known >= wanted
        assert loop.time() - began <= 2.1
    growing.cancel()
    await asyncio.wait({growing, *ringing})


async def test_a_failed_read_raises_in_every_caller_that_it_began_after() -> None:
    log, reads = Log(), SharedRead()
    first = asyncio.create_task(reads.run(log.read))
    await asyncio.sleep(0.5)
    later = [asyncio.create_task(reads.run(log.read)) for _ in range(3)]
    await first
    log.failures = 1
    for one in later:
        with pytest.raises(Unavailable):
            await one
    assert log.reads == 2
    await reads.run(log.read)


async def test_a_read_that_fails_says_nothing_of_one_that_begins_later() -> None:
    """The store may be back by now."""
    log, reads = Log(), SharedRead()
    log.failures = 1
    first = asyncio.create_task(reads.run(log.read))
    await asyncio.sleep(0.5)
    log.end = 7
    later = [asyncio.create_task(reads.run(log.read)) for _ in range(3)]
    with pytest.raises(Unavailable):
        await first
    await asyncio.gather(*later)
    assert (log.known, log.reads) == (7, 2)


async def test_the_cancellation_of_the_caller_that_reads_is_not_that_of_the_others() -> None:
    log, reads = Log(), SharedRead()
    first = asyncio.create_task(reads.run(log.read))
    await asyncio.sleep(0.5)
    log.end = 7
    later = [asyncio.create_task(reads.run(log.read)) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    later[0].cancel()
    await asyncio.gather(*later[1:])
    assert log.known == 7


async def test_a_waiting_caller_that_is_cancelled_does_not_cancel_the_read() -> None:
    log, reads = Log(), SharedRead()
    first = asyncio.create_task(reads.run(log.read))
    await asyncio.sleep(0.5)
    second = asyncio.create_task(reads.run(log.read))
    await asyncio.sleep(0)
    second.cancel()
    await first
    assert second.cancelled() or not second.done()
    await asyncio.wait({second})
    assert log.reads == 1
