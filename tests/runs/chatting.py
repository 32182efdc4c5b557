"""The tools and the chat agent that tests of a model's calls use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentws import ChatAgent, tool
from agentws.errors import ToolError
from agentws.llm import LLM
from agentws.testing.fakellm import ScriptedLLM, ToolUse


@tool
async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@tool
async def fail(why: str = "no reason") -> str:
    """Fails."""
    raise ToolError(f"It failed: {why}.")


@tool
async def crash() -> str:
    """Fails with an error of its own."""
    raise RuntimeError("the password is 1234")


@tool(approve=True)
async def refund(order: str) -> str:
    """Refunds an order."""
    refunded.append(order)
    return f"Refunded {order}."


refunded: list[str] = []

ADD = ToolUse("add", {"a": 1, "b": 2})


def chat(llm: LLM, **options: Any) -> Callable[[], ChatAgent]:
    return lambda: ChatAgent(llm, **{"tools": [add, fail, crash, refund], **options})


def results(llm: ScriptedLLM) -> list[str]:
    """The results that the model was given in its newest request."""
    return [turn.text for turn in llm.requests[-1] if turn.role == "tool"]
