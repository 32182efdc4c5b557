"""What every reader of server-sent events must read, which a server seldom sends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anthropic
import openai
import pytest

from agentws.agents.llm import LLM
from agentws.integrations.anthropic import AnthropicMessages
from agentws.integrations.openai import OpenAIChat

from .wires import HELLO, HTTP, anthropic_delta, openai_delta

Spoken = list[str]
"""The events of an answer that says "Hi there", each as it is sent."""


def event(data: dict[str, Any]) -> str:
    name = f"event: {data['type']}\n" if "type" in data else ""
    return f"{name}data: {json.dumps(data)}\n\n"


OPENAI: Spoken = [
    event(openai_delta({"content": "Hi"})),
    event(openai_delta({"content": " there"})),
    event(openai_delta({}, finish_reason="stop")),
    "data: [DONE]\n\n",
]
ANTHROPIC: Spoken = [
    event({"type": "message_start"}),
    event(anthropic_delta(type="text_delta", text="Hi")),
    event(anthropic_delta(type="text_delta", text=" there")),
    event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
]


def before_each(words: str) -> Any:
    return lambda events: "".join(words + one for one in events)


ODD: Mapping[str, Any] = {
    "a byte order mark": lambda events: "\ufeff" + "".join(events),
    "comments": before_each(": ping\n\n"),
    "a time to reconnect": before_each("retry: 3000\n\n"),
    "pings without data": before_each("event: ping\n\n"),
    "pings with empty data": before_each("event: ping\ndata:\n\n"),
    "ids": before_each("id: 1\n"),
    "comments between events with ids": before_each(": ping\n\nid: 1\n"),
    "a field of an unknown name": before_each("trace: x\n"),
    "line breaks of Windows": lambda events: "".join(events).replace("\n", "\r\n"),
    "a space after the colon in none": lambda events: "".join(events).replace(": ", ":"),
    "a line separator": lambda events: "".join(events).replace("Hi", "Hi\u2028"),
}


def model(adapter: str, http: Any) -> LLM:
    options: dict[str, Any] = {"api_key": "key", "base_url": "http://model.example"}
    if adapter == "openai":
        given = openai.AsyncOpenAI(**options, max_retries=0, http_client=http)
        return OpenAIChat("fake", client=given, max_retries=0)
    client = anthropic.AsyncAnthropic(**options, max_retries=0, http_client=http)
    return AnthropicMessages("fake", client=client, max_retries=0)


@pytest.mark.parametrize("piece", [1, 10_000], ids=["byte by byte", "at once"])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize(("adapter", "events"), [("openai", OPENAI), ("anthropic", ANTHROPIC)])
async def test_an_answer_is_read_whole_from_any_valid_stream(
    adapter: str, events: Spoken, odd: Any, piece: int
) -> None:
    said = await answer(adapter, odd(events).encode(), piece)
    assert said.replace("\u2028", "") == "Hi there"


@pytest.mark.parametrize("piece", [1, 10_000], ids=["byte by byte", "at once"])
async def test_a_broken_character_of_openai_is_replaced(piece: int) -> None:
    body = "".join(OPENAI).encode().replace(b"Hi", "Hi é ".encode() + b"\xf0\x9f \xff")
    assert await answer("openai", body, piece) == "Hi é \ufffd \ufffd there"


async def answer(adapter: str, body: bytes, piece: int) -> str:
    """The text that is read of a ``body`` that is received in pieces of so many bytes."""

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), piece):
            yield body[at : at + piece]

    def respond(request: Any) -> Any:
        return HTTP.Response(200, headers={"content-type": "text/event-stream"}, content=pieces())

    async with HTTP.AsyncClient(transport=HTTP.MockTransport(respond)) as http:
        return "".join([str(one) async for one in model(adapter, http).stream(HELLO)])
