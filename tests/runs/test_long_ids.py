"""Every event of a message repeats its id: one that leaves no room for them is too large."""

from __future__ import annotations

import re
from typing import Any

import pytest

from agentws.protocol import events as e
from agentws.protocol.sizes import TEXT
from agentws.testing.agents import Script, Yield

from .harness import talk
from .test_large import LARGE, MIB

LONG = "x" * 40_000
LONG_IDS: list[Any] = [
    e.TextMessageStart(LONG),
    e.ToolCallStart(LONG, "look"),
    e.ReasoningMessageStart(LONG, "reasoning"),
    e.ActivitySnapshot(LONG, "plan", {}),
    e.SubagentStarted(LONG, "other"),
    e.ToolCallResult("r", LONG, "ok"),
]


@pytest.mark.parametrize("item", LONG_IDS, ids=lambda item: type(item).__name__)
async def test_an_id_that_leaves_no_room_in_later_frames_ends_its_run(item: Any) -> None:
    async with talk(Script(Yield(item))) as one:
        await one.client.say("go", "m1")
        terminal = (await one.terminal())["event"]
        assert (terminal["type"], terminal["code"]) == ("RUN_ERROR", "too_large")
        assert re.search(
            r"The \w+_id of this [A-Z_]+ has 40000 bytes; at most", terminal["message"]
        )
        await one.check()


async def test_the_longest_id_keeps_every_frame_within_its_limit() -> None:
    id = "x" * 32_500
    items = [e.TextMessageStart(id), e.TextMessageContent(message_id=id, delta=LARGE)]
    async with talk(Script(Yield(*items)), max_run_size=64 * MIB) as one:
        await one.client.say("go", "m1")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"
        await one.check()
        assert max(len(record.data) for record in await one.log()) <= TEXT
