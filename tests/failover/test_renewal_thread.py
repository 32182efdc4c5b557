"""The thread that renews leases: when it renews, when it does not, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from agentws.errors import Fenced, Unavailable
from agentws.runs.renewal_thread import RenewalThread
from agentws.sessions.held import HeldLease
from agentws.store import Lease, LeaseRenewer
from agentws.testing.contract_base import eventually

TTL = 1.0


class Recorder(LeaseRenewer):
    """Notes the renewals; keeps every lease but those in ``gone``. They can be held."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.may_end = threading.Event()
        self.may_end.set()
        self.gone: set[str] = set()
        self.fails = 0
        self.closed = threading.Event()

    def renew(self, owner: str, sessions: Sequence[str], *, ttl: float) -> Sequence[str]:
        self.asked.append(list(sessions))
        assert self.may_end.wait(30)
        if self.fails:
            self.fails -= 1
            raise Unavailable()
        return [one for one in sessions if one not in self.gone]

    def close(self) -> None:
        self.closed.set()


def held(session: str = "s") -> HeldLease:
    lease = Lease(session, "node", "e:1", TTL)
    return HeldLease(lease, asked_at=time.monotonic(), clock=time.monotonic)


@asynccontextmanager
async def renewing(
    recorder: Recorder, *, max_stall: float = 60.0
) -> AsyncIterator[tuple[RenewalThread, list[HeldLease]]]:
    lost: list[HeldLease] = []
    thread = RenewalThread(
        recorder, node="node", ttl=TTL, every=TTL / 10, max_stall=max_stall, lost=lost.extend
    )
    try:
        yield thread, lost
    finally:
        await thread.aclose()
        assert recorder.closed.wait(10)


async def until(condition: Callable[[], object]) -> None:
    async def holds() -> bool:
        return bool(condition())

    await eventually(holds)


def block(seconds: float) -> None:
    time.sleep(seconds)


def block_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


async def test_a_lease_is_renewed_while_the_event_loop_is_blocked() -> None:
    recorder = Recorder()
    async with renewing(recorder) as (thread, lost):
        one = held()
        thread.hold(one)
        before = one.until
        block(1.3 * TTL)
        assert one.until > before
        one.check()
        assert not lost


async def test_nothing_is_renewed_when_the_event_loop_was_blocked_for_too_long() -> None:
    recorder = Recorder()
    async with renewing(recorder, max_stall=TTL / 4) as (thread, _):
        one = held()
        thread.hold(one)
        block(1.5 * TTL)
        with pytest.raises(Fenced):
            one.check()
        asked = len(recorder.asked)
        block(TTL / 3)
        assert len(recorder.asked) == asked
        thread.tick()
        await until(lambda: len(recorder.asked) > asked)


async def test_a_blocked_event_loop_is_logged_once_with_what_it_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with renewing(Recorder()) as (thread, _):
        thread.hold(held())
        with caplog.at_level(logging.WARNING, logger="agentws.run"):
            block_until(lambda: bool(caplog.records))
            block(TTL / 3)
        found = [one.getMessage() for one in caplog.records]
        assert len(found) == 1
        assert "the event loop is blocked" in found[0]
        assert "block_until(lambda: bool(caplog.records))" in found[0]


async def test_without_leases_the_thread_renews_nothing() -> None:
    recorder = Recorder()
    async with renewing(recorder) as (thread, _):
        one = held()
        recorder.may_end.clear()
        thread.hold(one)
        await until(lambda: recorder.asked)
        # The renewal that has begun is the last one.
        thread.drop(one)
        recorder.may_end.set()
        await asyncio.sleep(TTL / 2)
        assert recorder.asked == [["s"]]
        thread.hold(held("another"))
        await until(lambda: ["another"] in recorder.asked)


async def test_a_lease_of_another_node_is_reported_lost_on_the_event_loop() -> None:
    recorder = Recorder()
    recorder.gone = {"gone"}
    async with renewing(recorder) as (thread, lost):
        gone, kept = held("gone"), held("kept")
        thread.hold(gone)
        thread.hold(kept)
        await until(lambda: lost)
        assert set(lost) == {gone}


async def test_a_renewal_that_fails_is_tried_again() -> None:
    recorder = Recorder()
    recorder.fails = 2
    async with renewing(recorder) as (thread, lost):
        one = held()
        before = one.until
        thread.hold(one)
        await until(lambda: one.until > before)
        assert len(recorder.asked) >= 3
        assert not lost


def test_the_thread_ends_when_its_event_loop_is_closed() -> None:
    recorder = Recorder()

    async def leave() -> RenewalThread:
        thread = RenewalThread(
            recorder, node="node", ttl=TTL, every=TTL / 10, max_stall=60, lost=lambda gone: None
        )
        thread.hold(held())
        return thread

    asyncio.run(leave())
    assert recorder.closed.wait(10)


def test_a_thread_without_leases_ends_when_it_is_abandoned() -> None:
    recorder = Recorder()

    async def leave() -> RenewalThread:
        return RenewalThread(
            recorder, node="node", ttl=TTL, every=TTL / 10, max_stall=60, lost=lambda gone: None
        )

    asyncio.run(leave()).close()
    assert recorder.closed.wait(10)
