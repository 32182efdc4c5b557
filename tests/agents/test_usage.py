"""Token usage: no report of a provider makes an answer fail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws.agents.agent import RunContext
from agentws.agents.usage import readable_usage, token_count
from agentws.protocol.messages import TokenUsage
from tests.runs.harness import talk


@pytest.mark.parametrize(
    ("value", "count"),
    [(0, 0), (7, 7), (7.0, 7), (7.9, 7), ("7", 7), (" 7.0 ", 7), (2**53, 2**53), (-0.0, 0)]
    + [(value, None) for value in (None, True, -1, -0.5, 2**53 + 2, 10**400, float("nan"))]
    + [(value, None) for value in ("", "many", "inf", "9" * 5000, [7], {"n": 7}, b"7", ())],
)
def test_a_token_count_is_read_in_any_form(value: Any, count: int | None) -> None:
    assert token_count(value) == count


@pytest.mark.parametrize("value", ["12", 12.0, "12.0"])
async def test_usage_in_odd_forms_is_reported(value: Any) -> None:
    odd: list[Any] = ["p", "\ud83d\x00", value, [value], 10**400, -1]

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield "Hello"
        ctx.report_usage(TokenUsage(*odd))

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        event = (await one.terminal())["event"]
        assert event["outcome"] == {"type": "success"}
        assert event["usage"] == [{"provider": "p", "inputTokens": 12}]


def test_valid_usage_is_reported_unchanged() -> None:
    usage = TokenUsage("p", "m", 1, 2, 3, 4, 5, 6)
    assert readable_usage(usage) == usage
    assert readable_usage(TokenUsage()) == TokenUsage()


@pytest.mark.parametrize("usage", [None, {"input_tokens": 1}, 5], ids=str)
def test_anything_but_a_token_usage_is_a_type_error(usage: Any) -> None:
    with pytest.raises(TypeError, match="expected a TokenUsage"):
        readable_usage(usage)
