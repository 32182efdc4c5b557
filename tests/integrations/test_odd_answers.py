"""A complete answer is kept, even if parts of the stream are malformed.

The fake server sends each malformed stream through the real SDKs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentws.agents.llm import LLMRefused
from agentws.protocol.messages import TokenUsage
from agentws.testing.fakellm import FakeLLM, Reply

from .wires import (
    HELLO,
    WIRES,
    Connect,
    anthropic_delta,
    anthropic_messages,
    openai_chat,
    openai_delta,
    refused,
    whole,
)

# Chunks without content

ODD_CHUNKS: Mapping[str, Any] = {
    "a choice without delta": {"choices": [{"index": 0, "finish_reason": None}]},
    "a null delta": openai_delta(None),
    "filter results": {
        "choices": [{"index": 0, "content_filter_results": {"hate": {"filtered": False}}}]
    },
    "a delta that is a list": openai_delta([1]),
    "a delta that is a string": openai_delta("x"),
    "an empty delta": openai_delta({}),
    "no choices": {"id": "x", "prompt_filter_results": []},
    "null choices": {"choices": None},
    "choices that are an object": {"choices": {"0": 1}},
    "odd choices": {"choices": [None, 5, "x", []]},
    "null content": openai_delta({"content": None}),
    "a number as content": openai_delta({"content": 5}),
    "an object as content": openai_delta({"content": {"a": 1}}),
    "odd tool calls": openai_delta({"tool_calls": 5}),
    "a nameless tool call": openai_delta({"tool_calls": [{"function": None}]}),
    "an odd refusal": openai_delta({"refusal": [1]}),
    "an empty refusal": openai_delta({"refusal": ""}),
    "an empty finish reason": openai_delta({}, finish_reason=""),
    "half an emoji in what is not shown": openai_delta(
        {
            "reasoning_content": "\ud83d",
            "tool_calls": [
                {"index": 0, "id": "\ud83d", "function": {"name": "\ude00", "arguments": "\ud83d"}}
            ],
        }
    ),
    "null": None,
    "a number": 5,
    "a list": [],
    "a string": "x",
}


@pytest.mark.parametrize("chunk", ODD_CHUNKS.values(), ids=ODD_CHUNKS)
async def test_a_chunk_of_openai_without_content_is_skipped(chunk: Any) -> None:
    reply = Reply("Hello there", events=[chunk, openai_delta({"content": "!"})])
    outcome = await whole(openai_chat, reply)
    assert outcome.text == "Hello there!"
    assert outcome.usage == TokenUsage("openai", "fake", 2, 2, 4)


ODD_EVENTS: Mapping[str, Any] = {
    "no message": {"type": "message_start"},
    "a null message": {"type": "message_start", "message": None},
    "no delta": {"type": "content_block_delta", "index": 0},
    "a null delta": {"type": "content_block_delta", "index": 0, "delta": None},
    "null text": anthropic_delta(type="text_delta", text=None),
    "a list as text": anthropic_delta(type="text_delta", text=["x"]),
    "a delta of a new kind": anthropic_delta(type="new_delta", text="x"),
    "a block that never began": {
        "type": "content_block_delta",
        "index": 7,
        "delta": {"type": "text_delta", "text": ""},
    },
    "a null block": {"type": "content_block_start", "index": 1, "content_block": None},
    "an end without a delta": {"type": "message_delta"},
    "an end with a null delta": {"type": "message_delta", "delta": None, "usage": None},
    "an event of a new kind": {"type": "new_event"},
    "half an emoji in what is not shown": anthropic_delta(type="thinking_delta", thinking="\ud83d"),
    "broken arguments": anthropic_delta(type="input_json_delta", partial_json="}{"),
    "null": None,
    "a number": 5,
    "a list": [],
}


@pytest.mark.parametrize("event", ODD_EVENTS.values(), ids=ODD_EVENTS)
async def test_an_event_of_anthropic_without_content_is_skipped(event: Any) -> None:
    more = anthropic_delta(type="text_delta", text="!")
    outcome = await whole(anthropic_messages, Reply("Hello there", events=[event, more]))
    assert outcome.text == "Hello there!"


@pytest.mark.parametrize("kind", [{}, {"type": None}])
async def test_text_of_anthropic_without_a_type_is_text(kind: Any) -> None:
    outcome = await whole(
        anthropic_messages, Reply("a", events=[anthropic_delta(text="b", **kind)])
    )
    assert outcome.text == "ab"


async def test_the_text_of_content_parts_is_joined() -> None:
    parts = [
        {"type": "text", "text": "Good "},
        {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}},
        {"type": "thinking", "thinking": [{"type": "text", "text": "never shown"}]},
        {"type": "text", "text": None},
        {"text": "to "},
        "see ",
        None,
        5,
        {"type": "text", "text": "you."},
    ]
    reply = Reply(events=[openai_delta({"content": parts})])
    assert (await whole(openai_chat, reply)).text == "Good to see you."


async def test_a_character_may_be_split_over_two_parts() -> None:
    parts = [{"type": "text", "text": "\ud83d"}, {"type": "text", "text": "\ude00"}]
    reply = Reply(events=[openai_delta({"content": parts})])
    assert (await whole(openai_chat, reply)).text == "😀"


# Characters

PIECES: Mapping[str, tuple[list[str], str]] = {
    "an emoji in two": (["\ud83d", "\ude00"], "😀"),
    "an emoji in two among text": (["Hi \ud83d", "\ude00 there"], "Hi 😀 there"),
    "two in a row": (["\ud83d", "\ude00\ud83d", "\ude01"], "😀😁"),
    "an empty piece between": (["\ud83d", "", "\ude00"], "😀"),
    "a NUL between": (["\ud83d", "\x00", "\ude00"], "😀"),
    "a first half alone": (["a\ud83d", "b"], "a\ufffdb"),
    "a first half at the end": (["a", "\ud83d"], "a\ufffd"),
    "a second half alone": (["\ude00", "b"], "\ufffdb"),
    "halves the wrong way round": (["\ude00", "\ud83d"], "\ufffd\ufffd"),
    "two first halves": (["\ud83d", "\ud83d\ude00"], "\ufffd😀"),
    "NULs": (["a\x00b", "\x00", "c\x00"], "abc"),
    "other characters": (["é", "\u200d", "😀"], "é\u200d😀"),
}


@pytest.mark.parametrize(("pieces", "text"), PIECES.values(), ids=PIECES)
async def test_split_surrogates_become_whole_characters(
    connect: Connect, pieces: list[str], text: str
) -> None:
    assert (await whole(connect, Reply(pieces))).text == text


@pytest.mark.parametrize(("pieces", "text"), PIECES.values(), ids=PIECES)
async def test_split_surrogates_of_a_refusal_become_whole_characters(
    pieces: list[str], text: str
) -> None:
    events = [openai_delta({"refusal": piece}) for piece in pieces]
    said, error = await refused(openai_chat, Reply(events=events))
    assert said == text
    assert isinstance(error, LLMRefused)


async def test_surrogates_of_two_different_texts_are_not_joined() -> None:
    events = [
        openai_delta({"content": "\ud83d", "reasoning_content": "\ud83d"}),
        openai_delta({"refusal": "\ude01"}),
        openai_delta({"content": "\ude00"}),
    ]
    said, _ = await refused(openai_chat, Reply(events=events))
    assert said == "\ufffd😀"


# Any JSON value

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "content", "usage", "type", "text", "refusal", "message"]
                + ["prompt_tokens", "output_tokens", "input_tokens", "reasoning", "index"]
                + ["content_block", "prompt_tokens_details", "cached_tokens", "tool_calls"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("wire", WIRES)
async def test_no_json_value_in_a_stream_fails_a_good_answer(wire: str, soak: float) -> None:
    """One server and one client for all examples, for speed: only the events vary."""
    sent: list[Any] = []

    def script(_: object) -> Reply:
        return Reply("Hello there", events=sent)

    async with FakeLLM(script) as fake, WIRES[wire](fake) as llm:
        for value in examples(max(1, int(150 * soak))):
            sent[:] = [value]
            said = [piece async for piece in llm.stream(HELLO)]
            text = "".join(piece for piece in said if isinstance(piece, str))
            assert text.startswith("Hello there"), value
            text.encode()


def examples(count: int) -> list[Any]:
    drawn: list[Any] = []

    @settings(max_examples=count, database=None)
    @given(json)
    def draw(value: Any) -> None:
        drawn.append(value)

    draw()
    return drawn
