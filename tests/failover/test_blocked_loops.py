"""An agent that blocks its event loop for longer than a lease, on one of two nodes."""

from __future__ import annotations

from pathlib import Path

from agentws import MemoryStore
from agentws.protocol.codec import event_type
from agentws.protocol.fold import Fold
from agentws.store import Record
from tests.runs.harness import talk

from .blocking import ENDS, Blocking, with_a_blocked_node

TTL = 1.0


def answer(records: list[Record]) -> str:
    return str(Fold().apply_all(records).messages[-1].content)


def ends(records: list[Record]) -> list[str]:
    found = (event_type(record.data) for record in records)
    return [one for one in found if one in ENDS]


async def test_an_agent_that_blocks_the_loop_for_longer_than_its_lease_keeps_its_run(
    tmp_path: Path,
) -> None:
    records = await with_a_blocked_node(
        tmp_path / "sessions.db", blocked=2.5 * TTL, lease_ttl=TTL, max_loop_stall=60.0
    )
    assert ends(records) == ["RUN_FINISHED"]
    assert answer(records) == "before after"


async def test_after_too_long_a_stall_another_node_takes_over_and_the_first_writes_nothing(
    tmp_path: Path,
) -> None:
    records = await with_a_blocked_node(
        tmp_path / "sessions.db", blocked=3 * TTL, lease_ttl=TTL, max_loop_stall=0.3
    )
    assert ends(records) == ["RUN_ERROR"]
    assert answer(records) == "before "


async def test_without_a_renewer_a_blocked_loop_loses_its_run_and_writes_nothing(
    tmp_path: Path,
) -> None:
    records = await with_a_blocked_node(
        tmp_path / "sessions.db", blocked=3 * TTL, renewer=False, lease_ttl=TTL
    )
    assert ends(records) == ["RUN_ERROR"]
    assert answer(records) == "before "


async def test_the_only_node_of_a_store_in_memory_keeps_the_run_of_a_blocked_loop() -> None:
    def agent() -> Blocking:
        return Blocking(0.5)

    async with talk(agent, store=MemoryStore(), lease_ttl=0.2) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "before after"
