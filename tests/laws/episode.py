"""One random schedule: three clients, two nodes, one SQLite file, and the races among them.

``virtual_run(episode(InlineSQLite, path, seed))`` replays the schedule that a failure names.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette

from agentws import mount_agent_gateway
from agentws.agents.output import Output
from agentws.agents.run_context import RunContext
from agentws.backends.local import LocalBus
from agentws.bus import Bus
from agentws.limits import Limits
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.codec import Record, decode_record
from agentws.store import Store
from agentws.testing.connect import running
from agentws.testing.faults import LossyBus
from agentws.testing.laws import Violation, moments, violations
from agentws.testing.oracle import check_client, check_log, read_log

from .crowd import SESSION, Crowd, seq_of
from .replies import Account, Request
from .stores import End, Jittery

LIMITS = Limits(
    gather=0.01,
    cancel_grace=0.2,
    lease_ttl=20.0,
    poll_interval=0.2,
    idle_poll_interval=0.4,
    drain_timeout=0.3,
    run_timeout=3.0,
    message_rate=1e6,
    message_burst=10**6,
    byte_rate=1e12,
)
TIMES = ("gather", "cancel_grace", "poll_interval", "idle_poll_interval", "drain_timeout")
"""The limits that go with the pace of an episode."""


class Faults:
    """The faults of an episode: delays and failures of the store, losses of the bus."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(f"weather {seed}")
        self.most = chance.choice((0.001, 0.01, 0.05, 0.15))
        self.loss = chance.choice((0.0, 0.0, 0.5, 1.0))
        self.max_queued = chance.choice((1, 2, 3))
        self.failing = chance.choice((0.0, 0.0, 0.0, 0.03))

    def limits(self, pace: float) -> Limits:
        times: dict[str, Any] = {name: getattr(LIMITS, name) * pace for name in TIMES}
        return msgspec.structs.replace(LIMITS, max_queued=self.max_queued, **times)


@dataclass
class Outcome:
    """The result of an episode."""

    seed: int
    records: list[Record] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    broken: list[Violation] = field(default_factory=list)
    """Laws that the log breaks."""
    without_effect: list[str] = field(default_factory=list)
    """Commands that were acknowledged and had no effect."""
    without_cause: list[str] = field(default_factory=list)
    """Commands that were refused although the log allowed them."""
    left_behind: list[str] = field(default_factory=list)
    """Events that no acknowledged command has appended, or that two have."""
    misseen: list[str] = field(default_factory=list)
    """Errors in the log, and in what each client saw of it."""
    mistaken: list[str] = field(default_factory=list)
    """Messages that an agent got to steer it, and the log does not say so."""
    hung: list[str] = field(default_factory=list)

    def report(self) -> str:
        """The log and the commands as text, for the error of a test."""
        lines = [f"seed {self.seed}"]
        lines += [f"{record.seq} {record.data.decode()[:300]}" for record in self.records]
        return "\n".join([*lines, *map(str, self.requests)])


async def episode(
    make: Callable[[Path], Store], path: Path, seed: int, *, pace: float = 1.0
) -> Outcome:
    """Plays one schedule to its end and checks the result against the laws.

    ``make`` gives a handle of the file at ``path``; ``pace`` is how long a second takes.
    """
    # The jitter of retries is the same in each replay of a schedule.
    random.seed(seed)
    outcome, faults, end = Outcome(seed), Faults(seed), End()
    bus: Bus = LocalBus()
    if faults.loss:
        bus = LossyBus(bus, drop=faults.loss, seed=seed)
    witness = make(path)
    async with AsyncExitStack() as stack:
        await witness.open()
        stack.push_async_callback(witness.close)
        apps, got = [], list[tuple[str, str]]()
        for number in (2 * seed, 2 * seed + 1):
            most, failing = faults.most * pace, faults.failing
            store = Jittery(make(path), end, most=most, failing=failing, seed=number)
            app = Starlette()
            limits = faults.limits(pace)
            mount_agent_gateway(app, agent_at(pace, got), store=store, bus=bus, limits=limits)
            await stack.enter_async_context(running(app, within=500.0))
            apps.append(app)
        crowd = Crowd(apps, end, seed=seed, pace=pace)
        outcome.hung = await _play(crowd, witness, pace)
        epoch, outcome.records = await read_log(witness, SESSION)
        outcome.requests = crowd.requests
        _check(outcome, crowd, epoch, faults.max_queued)
        outcome.mistaken = list(_mistaken(outcome.records, got))
        for client in crowd.clients:
            client.drop()
    return outcome


async def _play(crowd: Crowd, witness: Store, pace: float) -> list[str]:
    """Returns what has not ended, as text for the report."""
    parts = await asyncio.gather(*map(crowd.play, range(3)), return_exceptions=True)
    hung = [repr(part) for part in parts if isinstance(part, BaseException)]
    calm, before, open = 0, -1, None
    for _ in range(200 if not hung else 0):
        await asyncio.sleep(0.5 * pace)
        _, records = await read_log(witness, SESSION)
        for client in crowd.clients:
            client.take_waiting()
            if client.closed is not None:
                await crowd.connect(client)
        open = moments(records)[-1]
        over = open.settled and {len(records)} == set(map(seq_of, crowd.clients))
        # A command of a client that disconnected may still be in progress.
        calm = calm + 1 if over and len(records) == before else 0
        before = len(records)
        if calm == 3:
            return []
    return hung or [f"{open} and clients at {list(map(seq_of, crowd.clients))} of {before}"]


def _check(outcome: Outcome, crowd: Crowd, epoch: str, max_queued: int) -> None:
    records, over = outcome.records, not outcome.hung
    outcome.broken = violations(records, max_queued=max_queued, ended=over)
    account = Account(records, outcome.requests, max_queued=max_queued)
    outcome.without_effect = list(account.without_effect())
    outcome.without_cause = list(account.without_cause())
    outcome.left_behind = [*account.unowned(), *account.doubled()]
    try:
        check_log(records, settled=over)
    except AssertionError as error:
        outcome.misseen.append(str(error))
    for number, client in enumerate(crowd.clients):
        try:
            check_client(epoch, records, client.frames, complete=over)
        except AssertionError as error:
            outcome.misseen.append(f"client {number}: {error}")


def _mistaken(records: list[Record], got: list[tuple[str, str]]) -> Iterator[str]:
    bodies = [decode_record(record.data) for record in records]
    delivered = {
        (body.run, body.event.message_id)
        for body in bodies
        if isinstance(body.event, e.MessageSteered) and body.event.outcome == "delivered"
    }
    for run, message in got:
        if (run, message) not in delivered:
            yield f"{run} got {message}, which was not delivered to it"
    for one, count in Counter(got).items():
        if count > 1:
            yield f"{one} was got {count} times"


# The agent


def agent_at(
    pace: float, got: list[tuple[str, str]]
) -> Callable[[RunContext], AsyncIterator[Output]]:
    """Does what the message says, or resumes with answers. ``got`` is what steers each run."""

    async def agent(ctx: RunContext) -> AsyncIterator[Output]:
        if ctx.answers:
            yield "so be it"
            if any(one.payload == "again" for one in ctx.answers):
                yield question(*(one.interrupt_id for one in ctx.answers))
            return
        does, number = ctx.text.split()
        match does:
            case "words":
                for count in range(4):
                    yield f"{count} "
                    await asyncio.sleep(0.02 * pace)
                    for message in await ctx.steered():
                        got.append((ctx.run_id, message.id))
                        yield f"took {message.id} "
            case "listen":
                yield "listening"
                async for message in ctx.steering():
                    got.append((ctx.run_id, message.id))
                    yield f"took {message.id} "
                    if int(number) % 2:
                        break
            case "burst":
                for count in range(20):
                    yield f"{count} "
            case "ask":
                yield question(f"q{number}", *([f"r{number}"] if int(number) % 2 else []))
            case "hang":
                yield "waiting"
                await asyncio.sleep(1.5 * pace)
            case "fail":
                raise ValueError("as asked")

    return agent


def question(*ids: str) -> e.RunFinished:
    asked = [m.Interrupt(id, "approval", message="May I?") for id in ids]
    return e.RunFinished("", "", outcome=m.InterruptOutcome(asked))
