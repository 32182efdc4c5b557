"""The rows of the table: how each is measured, with which options, and its targets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from ..scale import Scale
from ..servers.process import ServerProcess
from . import broadcast, cancelling, deltas, memory, opening, reconnecting, turns

Options = dict[str, Any]
"""Options of a server process: its limits and its store."""


def default_options(scale: Scale) -> Options:
    return {}


def on_disk(scale: Scale) -> Options:
    """With a store on disk, whose callers wait for it."""
    return {"store": "sqlite"}


def without_coalescing(scale: Scale) -> Options:
    """Without coalescing: each delta is an event, so that a client has as many to replay."""
    return {"limits": {"gather": 0.0}}


def early_eviction(scale: Scale) -> Options:
    """With early eviction: a session without followers is soon evicted from memory."""
    names = ("session_idle", "replay_window", "poll_interval")
    return {"limits": dict.fromkeys(names, scale.idle_seconds), "store": "sqlite"}


def immediate_eviction(scale: Scale) -> Options:
    """With immediate eviction, so that every later use of a session is a cold start."""
    return early_eviction(scale._replace(idle_seconds=scale.idle_seconds / 10))


class Workload(NamedTuple):
    """One row: how it is measured, and its targets on stock uvicorn and on the preset, if any."""

    name: str
    title: str
    unit: str
    run: Callable[[ServerProcess, Scale], Awaitable[float]]
    stock: float | None
    preset: float | None
    against_raw: bool = True
    options: Callable[[Scale], Options] = default_options


# An evicted session should cost nothing. Memory is allocated and returned in pages, and the partly
# used ones vary by some hundred bytes a session between rounds: less than this counts as nothing.
NOTHING = 512.0


WORKLOADS = (
    Workload("idle", "an idle connection", "KiB", memory.idle_connection, 1.0, 0.6),
    Workload("echo", "a turn of an echo agent, against a bare echo", "µs", turns.echo, 4.0, 3.0),
    Workload("busy", "the same on a saturated server (50 clients)", "µs", turns.busy, None, None),
    Workload("tool", "the same with one call of a tool in each turn", "µs", turns.tool, None, None),
    Workload("paced", "a delta, 100 runs with one every 20 ms", "µs", deltas.paced, 0.85, 0.58),
    Workload("burst", "a delta, 100 runs as fast as they yield", "µs", deltas.burst, 0.1, 0.1),
    Workload("broadcast", "one delivery of a broadcast", "µs", broadcast.delivery, 0.85, 0.6),
    Workload(
        "storm",
        "a reconnect in a storm, with 100 deltas to replay",
        "µs",
        reconnecting.storm,
        0.5,
        0.4,
        options=without_coalescing,
    ),
    Workload(
        "cancel",
        "a cancel's acknowledgement among 100 runs, against an idle node",
        "×",
        cancelling.acknowledged,
        4.0,
        4.0,
        False,
        options=on_disk,
    ),
    Workload(
        "stop",
        "the end of a cancelled run among 100, against an idle node",
        "×",
        cancelling.ended,
        3.0,
        3.0,
        False,
        options=on_disk,
    ),
    Workload(
        "opening", "opening a long session, against a short one", "×", opening.warm, 1.5, 1.5, False
    ),
    Workload(
        "cold",
        "the same as a cold start from SQLite",
        "×",
        opening.cold,
        1.5,
        1.5,
        False,
        options=immediate_eviction,
    ),
    Workload(
        "forgotten",
        "the rest in memory of an evicted session",
        "bytes",
        memory.evicted_session,
        NOTHING,
        NOTHING,
        False,
        options=early_eviction,
    ),
)
