"""An agent that is steered, and what becomes of the messages."""

from __future__ import annotations

from typing import Any

from agentws import RunContext
from agentws.testing.agents import Gate

from .harness import Talk


class Steered:
    """An agent that writes, waits, takes what came, and writes again."""

    def __init__(self, *, speaks_first: bool = True) -> None:
        self.speaks_first = speaks_first
        self.gate = Gate()
        self.taken: list[Any] = []
        self.texts: list[str] = []

    async def __call__(self, ctx: RunContext) -> Any:
        self.texts.append(ctx.text)
        if self.speaks_first:
            yield "before"
        if ctx.text == "slow":
            await self.gate.wait()
            self.taken += [one.content for one in await ctx.steered()]
            yield "after"


def told(fold: Any) -> list[tuple[str, Any]]:
    return [(type(one).__name__[0], one.content) for one in fold.messages]


async def outcomes(one: Talk) -> list[tuple[str, str, str | None]]:
    found = [event for event in one.client.events() if event["type"] == "message.steered"]
    return [(event["messageId"], event["outcome"], event.get("reason")) for event in found]
