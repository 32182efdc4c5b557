"""A soak, round by round: some sessions under faults, then everything works again, then the check.

A round has sessions of its own, so that a violation is found soon after it has happened.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from agentws.testing.history import Checked, check_history, check_strangers
from agentws.testing.laws import violations
from tests.cluster.checks import settled_log, writer_of
from tests.cluster.clients import Native
from tests.cluster.vitals import HealthChecks, baseline, check_answers, check_returned
from tests.cluster.warming import warm_up

from .crowd import Person, Prowler, Resident, Wanderer
from .schedule import Episode, schedule
from .world import World, world

SESSIONS: Final = 3
WANDERERS: Final = 2
"""Native clients of each session, besides one Python client."""
ENDING: Final = 60.0
"""Seconds, after the faults, for each of what then has to happen."""


class Report(NamedTuple):
    """What a soak has done; there were no violations, or it would have raised."""

    rounds: int
    faults: Counter[str]
    events: int
    acknowledged: int
    lost: int
    """Acknowledged messages that are gone: only where that is what the store promises."""
    connections: int
    attempts: int
    """Runs that were attempted again, since their node was lost."""
    refusals: int
    """What strangers were answered: no event of a session that is not theirs."""
    health: float
    """The 99th percentile of the seconds that an answer of `/health` took, of the worst round."""

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        return (
            f"{self.rounds} rounds, {self.faults.total()} episodes, "
            f"{self.connections} connections, {self.events} events, "
            f"{self.acknowledged} acknowledged messages, {self.lost} lost, "
            f"{self.attempts} further attempts, {self.refusals} refusals of strangers, "
            f"/health in {self.health * 1000:.0f} ms, no violations\nfaults: {kinds}"
        )


class Violation(AssertionError):
    """What was promised does not hold. Says how to replay it."""


async def soak(
    store: str,
    folder: Path,
    *,
    seed: int,
    seconds: float,
    round_seconds: float = 10.0,
    say: Callable[[str], None] = print,
) -> Report:
    """Rounds until ``seconds`` have passed, at least one. Raises Violation."""
    report = Report(0, Counter(), 0, 0, 0, 0, 0, 0, 0.0)
    async with world(store, folder) as all:
        await asyncio.to_thread(warm_up, all.cluster)
        before = baseline(all.cluster.nodes)
        end = time.monotonic() + seconds
        while report.rounds == 0 or time.monotonic() < end:
            name = f"{seed}-{report.rounds}"
            faults = schedule(name, round_seconds, server=all.store.server is not None)
            try:
                with HealthChecks(all.cluster.nodes) as health:
                    report = await _round(all, name, faults, report)
                slowest = max(report.health, check_answers(health.answers))
                report = report._replace(health=slowest)
                await asyncio.to_thread(check_returned, all.cluster.nodes, before, within=ENDING)
            except Exception as error:
                raise Violation(_described(name, faults, all)) from error
            say(f"round {report.rounds}: {len(faults)} episodes; so far {report}")
    return report


def _described(name: str, faults: list[Episode], all: World) -> str:
    seed, _, number = name.rpartition("-")
    episodes = "\n".join(map(str, faults))
    ends = "\n".join(f"{one.name}: {_warnings(one.output)}" for one in all.cluster.nodes)
    return f"--seed {seed}, round {int(number) + 1}\n{episodes}\n{ends}"


def _warnings(output: str) -> str:
    """The last lines of a node's output, without the connections that it has accepted."""
    return "\n".join([line for line in output.splitlines() if "INFO:" not in line][-60:])


async def _round(all: World, name: str, faults: list[Episode], report: Report) -> Report:
    sessions = [f"soak-{name}-{number}-session" for number in range(SESSIONS)]
    people = {session: _people(all, session) for session in sessions}
    prowlers = [_prowler(all, session, people[session]) for session in sessions]
    everybody = [person for group in people.values() for person in group]
    async with AsyncExitStack() as entered:
        for person in everybody:
            if isinstance(person, Resident):
                await entered.enter_async_context(person.chat)
        async with asyncio.TaskGroup() as group:
            acting = [group.create_task(person.act()) for person in everybody]
            acting += [group.create_task(prowler.act()) for prowler in prowlers]
            await all.run(faults)
            for task in acting:
                task.cancel()
        await _check_welcomes(all, sessions)
        checked = [await _check(all, session, people[session]) for session in sessions]
        for prowler in prowlers:
            await prowler.visit_all()
    refusals = check_strangers(prowler.history for prowler in prowlers)
    all.cluster.check_output()
    return Report(
        report.rounds + 1,
        report.faults + Counter(episode.kind for episode in faults),
        report.events + sum(one.events for one, _ in checked),
        report.acknowledged + sum(one.acknowledged for one, _ in checked),
        report.lost + sum(len(one.lost) for one, _ in checked),
        report.connections + sum(map(_connections, everybody)),
        report.attempts + sum(attempts for _, attempts in checked),
        report.refusals + refusals,
        report.health,
    )


def _people(all: World, session: str) -> list[Person]:
    """The clients of a session; what each does depends on the session's name alone."""
    made: list[Person] = []
    for number in range(WANDERERS + 1):
        name = f"client-{number}"
        chance = random.Random(f"{session} {name}")
        kind = Resident if number == 0 else Wanderer
        made.append(kind(all, session, name, chance))
    return made


async def _check_welcomes(all: World, sessions: list[str]) -> None:
    """A node that says it is ready takes each session with the first connection."""
    for node in all.cluster.nodes:
        for session in sessions:
            client = Native(session, f"the first one at {node.name}")
            async with _within(f"{node.name} welcomes a client of {session}"):
                async with client.at(node.host):
                    await client.until("welcome")


def _prowler(all: World, session: str, owners: list[Person]) -> Prowler:
    return Prowler(all, session, owners, random.Random(f"{session} prowler"))


async def _check(all: World, session: str, people: list[Person]) -> tuple[Checked, int]:
    """What was checked, and how many runs of the session were attempted again."""
    await asyncio.gather(*(_deliver(session, person) for person in people))
    epoch, records = await settled_log(all.cluster, session)
    head = f"{epoch}.{records[-1].seq}.{records[-1].tag}"
    for person in people:
        async with _within(f"{session}: {person.history.name} reads up to {head}"):
            await person.read_to(head)
    histories = [person.history for person in people]
    broken = violations(records)
    assert not broken, "; ".join(map(str, broken))
    again = sum(b'"attempt":' in record.data for record in records)
    return check_history(epoch, records, histories, writer=writer_of), again


async def _deliver(session: str, person: Person) -> None:
    async with _within(f"{session}: every message of {person.history.name} is acknowledged"):
        await person.deliver()


@asynccontextmanager
async def _within(what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(ENDING):
            yield
    except TimeoutError:
        raise AssertionError(f"not within {ENDING:.0f} seconds: {what}") from None


def _connections(person: Person) -> int:
    return sum(frame.get("type") == "welcome" for frame in person.history.frames)
