"""Runs of agents that delegate, checked at their end."""

from __future__ import annotations

from typing import Any

from agentws import RunContext
from agentws.testing.agui import runs_of, verify

from .harness import Talk, talk


async def researcher(ctx: RunContext) -> Any:
    yield f"found {ctx.text}"


async def run(agents: dict[str, Any], **changes: Any) -> tuple[Talk, dict[str, Any]]:
    """One message to the first of ``agents``; returns the talk and the run's terminal event."""
    async with talk(agents, **changes) as t:
        return t, await ended(t)


async def ended(t: Talk, content: str = "go", id: str = "m1") -> dict[str, Any]:
    await t.client.say(content, id)
    terminal = (await t.terminal())["event"]
    for one in runs_of(await t.log()).values():
        verify(one)
    await t.check()
    return dict(terminal)


def events(t: Talk, *kinds: str) -> list[dict[str, Any]]:
    return [one for one in t.client.events() if one["type"] in kinds]
