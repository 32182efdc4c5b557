"""Steps of tests with agents that call tools and ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from agentws import RunContext
from agentws.testing.connect import Client, Frame, kind


async def one_question(ctx: RunContext) -> AsyncIterator[str]:
    yield "Let me see. "
    said = await ctx.ask("Refund 500?")
    yield f"You said {said}."


def answer(id: str, interrupt: str, payload: Any = None, **members: Any) -> dict[str, Any]:
    return {"type": "answer", "id": id, "interrupt": interrupt, "payload": payload, **members}


async def questions(client: Client) -> list[dict[str, Any]]:
    """Reads until the next run has ended; returns what it asks."""
    ended: Frame = await client.until(lambda one: kind(one) in ("RUN_FINISHED", "RUN_ERROR"))
    assert ended["event"]["type"] == "RUN_FINISHED", ended
    outcome = ended["event"]["outcome"]
    assert outcome["type"] == "interrupt", ended
    found: list[dict[str, Any]] = outcome["interrupts"]
    return found


def events_of(client: Client, type: str) -> list[dict[str, Any]]:
    return [one for one in client.events() if one["type"] == type]
