"""Random schedules: after any order of events the log is valid, and every client saw all of it.

Clients send, resend, cancel, withdraw, branch, disconnect, reconnect to another node, and stop
reading. Nodes freeze, resume late, are added, stopped, killed and restarted. The store fails before
or after a call took effect. The bus loses rings. At the end all faults are healed and the oracle
checks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentws.backends.memory import MemoryStore
from agentws.backends.sqlite import SQLiteStore
from agentws.testing.agents import Script
from agentws.testing.connect import connect
from agentws.testing.virtual import virtual_run
from tests.runs.nodes import nodes

from .stage import LIMITS, SAYS, Stage

WHO = st.integers(0, 3)
NODE = st.integers(0, 5)
MESSAGE = st.integers(0, 7)

SENDS = st.tuples(
    st.just("send"),
    WHO,
    MESSAGE,
    st.sampled_from(SAYS),
    st.sampled_from([None, None, "queue", "interrupt", "reject"]),
)
ACTIONS = st.one_of(
    SENDS,
    SENDS,
    st.tuples(st.just("cancel"), WHO, st.none() | MESSAGE),
    st.tuples(st.just("withdraw"), WHO, MESSAGE),
    st.tuples(st.just("clear"), WHO),
    st.tuples(st.just("drop"), WHO),
    st.tuples(st.just("connect"), WHO, NODE),
    st.tuples(st.just("pause"), WHO),
    st.tuples(st.just("resume"), WHO),
    st.tuples(st.just("read"), WHO),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.01, 0.05, 0.3, 1.0, 4.0])),
)
BRANCHING = st.one_of(
    st.tuples(st.just("regenerate"), WHO, st.none() | MESSAGE),
    st.tuples(st.just("edit"), WHO, MESSAGE, MESSAGE, st.sampled_from(SAYS)),
    st.tuples(st.just("switch"), WHO, st.integers(0, 9)),
)
CALLS = ("append", "read", "read_back", "lease", "renew", "release", "load", "heads", "find")
DISASTERS = st.one_of(
    st.tuples(st.just("freeze"), NODE),
    st.tuples(st.just("thaw"), NODE),
    # Long enough for another node to take the lease; the first one resumes while that one works.
    st.tuples(st.just("blackout"), st.sampled_from([1.0, 2.5, 4.0])),
    st.tuples(st.just("add node")),
    st.tuples(st.just("restart"), NODE, st.booleans()),
    st.tuples(st.just("slow"), st.sampled_from([0.0, 0.02, 0.3])),
    st.tuples(st.just("fail"), st.sampled_from(CALLS), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("fail"), st.just("append"), st.integers(1, 3), st.just(True)),
)
Action = tuple[Any, ...]


async def act(stage: Stage, action: Action, number: int, *, pace: float) -> None:
    match action:
        case ("send", who, message, text, overlap):
            frame = {"type": "send", "id": f"m{message}", "content": f"{text} {message}"}
            await stage.say(who, frame | ({"overlap": overlap} if overlap else {}))
        case ("cancel" | "withdraw" as what, who, message):
            target = {} if message is None else {"message": f"m{message}"}
            await stage.say(who, {"type": what, "id": f"x{number}", **target})
        case ("regenerate", who, message):
            target = {} if message is None else {"message": f"m{message}"}
            await stage.say(who, {"type": "regenerate", "id": f"g{number}", **target})
        case ("edit", who, message, id, text):
            frame = {"type": "edit", "id": f"m{10 + id}", "content": f"{text} {id}"}
            await stage.say(who, {**frame, "message": f"m{message}"})
        case ("switch", who, branch):
            known = stage.branches()
            id = known[branch % len(known)] if known else "br_none"
            await stage.say(who, {"type": "switch", "id": f"s{number}", "branch": id})
        case ("clear", who):
            await stage.say(who, {"type": "command", "id": f"x{number}", "name": "clear"})
        case ("drop", who):
            stage.drop(who)
        case ("connect", who, node):
            await stage.connect(who, node)
        case ("pause" | "resume" as what, who):
            if stage.clients[who].lines:
                getattr(stage.clients[who], what)()
        case ("read", who):
            stage.read(who)
        case ("wait", seconds):
            await asyncio.sleep(seconds * pace)
        case _:
            await strike(stage, action, pace=pace)


async def strike(stage: Stage, action: Action, *, pace: float) -> None:
    match action:
        case ("freeze", node):
            if len(stage.up) > 1:
                stage.up[node % len(stage.up)].way.set("hung")
        case ("blackout", seconds):
            await blackout(stage, seconds * pace)
        case ("slow", seconds):
            stage.slow_down(seconds * pace)
        case ("thaw", node):
            stage.nodes[node % len(stage.nodes)].way.set("up")
        case ("add node",):
            if len(stage.nodes) < 4:
                await stage.add_node()
        case ("restart", node, killed):
            await stage.restart(node, killed=killed)
        case ("fail", call, times, after):
            stage.fail(call, times=times, after=after)


async def blackout(stage: Stage, seconds: float) -> None:
    """Disconnects one node after the other from the store, while the others work."""
    for node in list(stage.nodes):
        if len(stage.up) > 1 and node in stage.up:
            node.way.set("hung")
            await asyncio.sleep(seconds)
            node.way.set("up")


async def play(stage: Stage, actions: list[Action], *, pace: float) -> None:
    await stage.open()
    try:
        for who in range(4):
            await stage.connect(who, who)
        for number, action in enumerate(actions):
            await act(stage, action, number, pace=pace)
            await asyncio.sleep(0)
        await stage.finish(step=0.5 * pace)
        await stage.check()
    finally:
        await stage.close()


def often(soak: float, examples: int) -> Callable[[Any], Any]:
    """The number of schedules; they are the same each time unless ``soak`` asks for more."""
    return settings(
        max_examples=max(1, int(examples * soak)),
        deadline=None,
        derandomize=soak <= 1.0,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def explore(
    soak: float,
    examples: int,
    actions: st.SearchStrategy[Action],
    run: Callable[[list[Action], float, int], None],
) -> None:
    schedules = st.lists(actions, min_size=1, max_size=30)

    @often(soak, examples)
    @given(schedules, st.sampled_from([0.0, 0.0, 0.5, 1.0]), st.integers(0, 1000))
    def schedule(actions: list[Action], loss: float, number: int) -> None:
        run(actions, loss, number)

    schedule()


def in_memory(actions: list[Action], loss: float, number: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        store = MemoryStore(monotonic=loop.time)
        await play(Stage(lambda: store, loss=loss, seed=number), actions, pace=1.0)

    virtual_run(main())


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Failures are expected here: they are not logged."""
    caplog.set_level(logging.CRITICAL + 1, logger="agentws")


@pytest.mark.timeout(600)
def test_random_schedules_of_clients_keep_every_promise(soak: float) -> None:
    explore(soak, 200, ACTIONS, in_memory)


EVERYTHING = st.one_of(ACTIONS, ACTIONS, DISASTERS)


@pytest.mark.timeout(600)
def test_random_schedules_with_node_and_store_failures_keep_every_promise(soak: float) -> None:
    explore(soak, 400, EVERYTHING, in_memory)


BRANCHES = st.one_of(ACTIONS, SENDS, BRANCHING, BRANCHING, BRANCHING)


@pytest.mark.timeout(600)
def test_random_schedules_with_branches_keep_every_promise(soak: float) -> None:
    explore(soak, 150, BRANCHES, in_memory)


@pytest.mark.timeout(600)
def test_random_schedules_with_branches_and_failures_keep_every_promise(soak: float) -> None:
    explore(soak, 150, st.one_of(BRANCHES, BRANCHES, DISASTERS), in_memory)


async def test_a_read_that_failed_after_a_ring_is_retried_without_another_ring() -> None:
    """On a lossless bus there is no second ring."""
    async with nodes(Script("Hello")) as (here, away):
        async with connect(here.app) as client:
            await client.until("welcome")
            async with connect(away.app, f"/ws/chat?session={client.session}") as other:
                await other.until("MESSAGES_SNAPSHOT")
                away.store.set("down")
                await client.say("Hi", "m1")
                assert await client.answer() == "Hello"
                await asyncio.sleep(20.0)
                away.store.set("up")
                assert await other.answer() == "Hello"


@pytest.mark.timeout(600)
def test_random_schedules_on_sqlite_keep_every_promise(soak: float, tmp_path: Path) -> None:
    """Each node has its own connections. In real time, since they have threads."""
    pace = 0.05
    quick = msgspec.structs.replace(
        LIMITS,
        gather=0.001,
        cancel_grace=0.02,
        lease_ttl=0.3,
        poll_interval=0.02,
        idle_poll_interval=0.02,
        drain_timeout=0.02,
        run_timeout=0.3,
        session_idle=0.2,
    )
    count = 0

    def on_sqlite(actions: list[Action], loss: float, number: int) -> None:
        nonlocal count
        count += 1
        path = tmp_path / f"{count}.db"
        stage = Stage(lambda: SQLiteStore(path), loss=loss, seed=number, limits=quick)
        asyncio.run(play(stage, actions, pace=pace))

    explore(soak, 60, st.one_of(EVERYTHING, EVERYTHING, BRANCHING), on_sqlite)
