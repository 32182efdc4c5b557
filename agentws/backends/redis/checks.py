"""Whether a Redis server, as it is set, keeps what a store promises. Pure: reads its ``INFO``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from ...errors import Misconfigured, Unavailable
from ...protocol.frames import Durability

OLDEST: Final = (6, 2)
HAS_WAITAOF: Final = (7, 2)
HAS_SHARDED_PUBSUB: Final = (7, 0)
_ONLINE: Final = re.compile(r"slave\d+")


class ServerFacts(NamedTuple):
    """What ``INFO`` and ``CONFIG GET appendfsync`` say."""

    version: tuple[int, ...]
    eviction: str
    appends_to_file: bool
    file_failed: bool
    fsync: str | None
    """``None``: the server does not tell, as some managed ones."""
    replicas: int
    """How many are connected and up to date."""
    is_replica: bool
    in_cluster: bool


def parse_info(text: str) -> dict[str, str]:
    lines = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in lines if colon}


def facts_of(info: Mapping[str, str], fsync: str | None) -> ServerFacts:
    version = info.get("redis_version", "0")
    online = [name for name in info if _ONLINE.fullmatch(name) and "state=online" in info[name]]
    return ServerFacts(
        version=tuple(int(part) for part in version.split(".")[:2] if part.isdigit()),
        eviction=info.get("maxmemory_policy", "noeviction"),
        appends_to_file=info.get("aof_enabled") == "1",
        file_failed=info.get("aof_last_write_status", "ok") != "ok",
        fsync=fsync,
        replicas=len(online),
        is_replica=info.get("role") == "slave",
        in_cluster=info.get("cluster_enabled") == "1",
    )


def check(facts: ServerFacts, durability: Durability, replicas: int) -> None:
    """Raises Misconfigured with one line for settings that lose what the store promises to keep.

    Raises Unavailable while it has too few replicas: they may come.
    """
    if facts.version < OLDEST:
        raise Misconfigured(
            "The Redis server is too old.", expected="Redis 6.2 or newer, or Valkey"
        )
    if facts.eviction.startswith("allkeys-"):
        raise Misconfigured(
            f"The Redis server evicts sessions when its memory is full ({facts.eviction}).",
            expected="maxmemory-policy noeviction",
        )
    if durability == "disk" and not writes_to_disk(facts):
        raise Misconfigured(
            "The Redis server can't confirm that an append is on its disk.",
            expected="appendonly yes, with appendfsync always or a server of version 7.2 or newer",
        )
    if durability == "replicated" and facts.replicas < replicas:
        raise Unavailable(
            f"The Redis server has {facts.replicas} connected replicas.",
            expected=f"at least {replicas}",
        )


def writes_to_disk(facts: ServerFacts) -> bool:
    """Whether the server can say that an append is on its disk."""
    confirmed = facts.fsync == "always" or facts.version >= HAS_WAITAOF
    return facts.appends_to_file and confirmed and not facts.file_failed


def available(facts: ServerFacts, durability: Durability, replicas: int) -> Durability:
    """The durability that an append meets now."""
    if facts.is_replica:
        raise Unavailable("The Redis server is a replica, which can't be written to.")
    if durability == "replicated" and facts.replicas < replicas:
        return "process"
    if durability == "disk" and not writes_to_disk(facts):
        return "process"
    return durability
