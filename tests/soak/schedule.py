"""What goes wrong in a soak, and when: decided by the seed alone, so that it can be replayed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final, NamedTuple

NODES: Final = ("a", "b", "c")
STORE: Final = "store"

PROCESS: Final = ("kill", "terminate", "freeze")
"""What happens to the process of a node."""
CLIENTS: Final = (
    "clients: blackhole",
    "clients: no answers",
    "clients: half-open",
    "clients: reset",
    "clients: cut",
    "clients: slow",
    "clients: refused",
)
"""What happens between clients and a node."""
PARTITIONS: Final = (
    "partition",
    "partition: reset",
    "partition: cut",
    "partition: slow",
    "partition: refused",
)
"""What happens between a node and the server of the store."""
SERVER: Final = ("store: kill", "store: freeze")
"""What happens to the server of the store."""

WEIGHTS: Final = {PROCESS: 4, CLIENTS: 4, PARTITIONS: 3, SERVER: 1}
GAPS: Final = (0.1, 0.9)
"""Seconds between the beginnings of two episodes."""
LASTS: Final = (0.2, 3.0)
"""Seconds that a fault lasts: some are longer than a lease, some shorter."""


class Episode(NamedTuple):
    """One fault: when it begins and ends, in seconds from the beginning of its round."""

    at: float
    until: float
    kind: str
    target: str
    """The node, or ``store``."""

    def __str__(self) -> str:
        return f"{self.at:5.2f} s to {self.until:5.2f} s: {self.kind} ({self.target})"


def schedule(seed: str, seconds: float, *, server: bool) -> list[Episode]:
    """The episodes of one round, by their beginnings. All have ended after ``seconds``.

    ``server``: whether the store has one that can be killed and cut off. A node has one fault of
    each group at a time.
    """
    return list(_episodes(random.Random(seed), seconds, server=server))


def _episodes(chance: random.Random, seconds: float, *, server: bool) -> Iterator[Episode]:
    groups = [group for group in WEIGHTS if server or group in (PROCESS, CLIENTS)]
    busy: dict[tuple[tuple[str, ...], str], float] = {}
    now = chance.uniform(*GAPS)
    while now < seconds:
        group = chance.choices(groups, [WEIGHTS[one] for one in groups])[0]
        kind = chance.choice(group)
        target = STORE if group is SERVER else chance.choice(NODES)
        until = min(now + chance.uniform(*LASTS), seconds)
        if busy.get((group, target), 0.0) <= now:
            busy[group, target] = until
            yield Episode(now, until, kind, target)
        now += chance.uniform(*GAPS)
