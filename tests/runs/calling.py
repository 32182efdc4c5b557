"""Tools that count their calls, and the results that a log has."""

from __future__ import annotations

from typing import Any

import msgspec

from agentws import tool

from .asking import events_of
from .harness import Talk


class Receipt(msgspec.Struct):
    order: str
    amount: float


class Desk:
    """Tools that count their calls."""

    def __init__(self) -> None:
        self.done: list[str] = []

    @tool
    async def refund(self, order: str, amount: float) -> Receipt:
        """Refunds an order."""
        self.done.append(f"{order} {amount:g}")
        return Receipt(order, amount)

    @tool(name="pay", approve=lambda args: args.amount > 100)
    async def pay(self, amount: float) -> str:
        self.done.append(f"{amount:g}")
        return f"paid {amount:g}"


async def results(one: Talk) -> list[tuple[str, Any]]:
    """The status and content of each result in the log."""
    found = events_of(one.client, "TOOL_CALL_RESULT")
    return [(each["metadata"]["agentws"]["status"], each["content"]) for each in found]
