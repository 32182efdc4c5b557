"""The readable part of a provider's usage report is counted; the rest is ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agentws.protocol.messages import TokenUsage
from agentws.testing.fakellm import Reply

from .wires import Event, anthropic_messages, openai_chat, whole

USAGE: Mapping[str, tuple[Any, TokenUsage | None]] = {
    "missing": (None, None),
    "a list of objects": (
        [{"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}],
        TokenUsage("openai", "fake", 3, 4, 7),
    ),
    "an empty list": ([], None),
    "a string": ("much", None),
    "floats": (
        {"prompt_tokens": 3.0, "completion_tokens": 4.5, "total_tokens": 7.5},
        TokenUsage("openai", "fake", 3, 4, 7),
    ),
    "strings": (
        {"prompt_tokens": "3", "completion_tokens": " 4 ", "total_tokens": "seven"},
        TokenUsage("openai", "fake", 3, 4, 7),
    ),
    "nulls": (
        {"prompt_tokens": None, "completion_tokens": 4, "total_tokens": None},
        TokenUsage("openai", "fake", None, 4, 4),
    ),
    "nothing but nulls": (
        {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
        None,
    ),
    "lists": (
        {"prompt_tokens": [3], "completion_tokens": 4, "total_tokens": {}},
        TokenUsage("openai", "fake", None, 4, 4),
    ),
    "no real numbers": (
        {"prompt_tokens": -1, "completion_tokens": {}, "total_tokens": 10**400},
        None,
    ),
    "too large for the log": ({"prompt_tokens": 2**64, "completion_tokens": 1e300}, None),
    "not finite": (
        {"prompt_tokens": float("nan"), "completion_tokens": float("inf"), "total_tokens": 7},
        TokenUsage("openai", "fake", total_tokens=7),
    ),
    "null details": (
        {
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "total_tokens": 7,
            "prompt_tokens_details": None,
            "completion_tokens_details": "none",
        },
        TokenUsage("openai", "fake", 3, 4, 7),
    ),
    "details in lists": (
        {
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "total_tokens": 7,
            "prompt_tokens_details": [{"modality": "TEXT"}, {"cached_tokens": "2"}],
            "completion_tokens_details": [{"reasoning_tokens": 1.0}],
        },
        TokenUsage("openai", "fake", 3, 4, 7, reasoning_tokens=1, cached_input_tokens=2),
    ),
}


@pytest.mark.parametrize(("usage", "counted"), USAGE.values(), ids=USAGE)
async def test_the_readable_part_of_openais_usage_is_counted(
    usage: Any, counted: TokenUsage | None
) -> None:
    def edit(event: Event) -> Event:
        return event | {"usage": usage} if "usage" in event else event

    outcome = await whole(openai_chat, Reply("Hello there", edit=edit))
    assert (outcome.text, outcome.usage) == ("Hello there", counted)


async def test_usage_in_every_chunk_counts_the_last_value_of_each() -> None:
    counts = [{"prompt_tokens": 3, "completion_tokens": n, "total_tokens": 3 + n} for n in (1, 2)]
    sent: list[Any] = [*counts, {"completion_tokens": None}, None]
    events = [{"choices": [], "usage": one} for one in sent]
    reply = Reply("Hello there", events=events, edit=lambda e: None if "usage" in e else e)
    outcome = await whole(openai_chat, reply)
    assert outcome.usage == TokenUsage("openai", "fake", 3, 2, 5)


ODD_USAGE: list[Any] = [None, [], "much", 5, {}, {"input_tokens": None, "output_tokens": None}]


@pytest.mark.parametrize("usage", ODD_USAGE, ids=str)
@pytest.mark.parametrize("kind", ["message_start", "message_delta"])
@pytest.mark.parametrize("how", ["odd", "missing"])
async def test_the_readable_part_of_anthropics_usage_is_counted(
    kind: str, usage: Any, how: str
) -> None:
    def edit(event: Event) -> Event:
        holder = event["message"] if event["type"] == "message_start" else event
        if event["type"] == kind:
            holder["usage"] = usage
            if how == "missing":
                del holder["usage"]
        return event

    outcome = await whole(anthropic_messages, Reply("Hello there", edit=edit))
    counted = (None, 2, 2) if kind == "message_start" else (2, 0, 2)
    assert outcome.text == "Hello there"
    assert outcome.usage == TokenUsage("anthropic", "fake", *counted)


async def test_an_anthropic_answer_without_usage_is_complete() -> None:
    def edit(event: Event) -> Event:
        event.pop("usage", None)
        event.get("message", {}).pop("usage", None)
        return event

    outcome = await whole(anthropic_messages, Reply("Hello there", edit=edit))
    assert (outcome.text, outcome.usage) == ("Hello there", None)


async def test_anthropics_cached_tokens_are_added_to_the_input() -> None:
    usage = {
        "input_tokens": "3",
        "cache_read_input_tokens": 5.0,
        "cache_creation_input_tokens": None,
        "output_tokens": 2,
    }

    def edit(event: Event) -> Event:
        return event | {"usage": usage} if event["type"] == "message_delta" else event

    outcome = await whole(anthropic_messages, Reply("Hello there", edit=edit))
    assert outcome.usage == TokenUsage("anthropic", "fake", 8, 2, 10, cached_input_tokens=5)
