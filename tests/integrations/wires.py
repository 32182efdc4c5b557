"""Both adapters with their real SDKs against the fake model server, set up for fast tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anthropic
import openai

from agentws.agents.llm import LLM, LLMError
from agentws.integrations.anthropic import AnthropicMessages
from agentws.integrations.openai import OpenAIChat
from agentws.protocol.messages import Message, TokenUsage, UserMessage
from agentws.testing.fakellm import FakeLLM, Reply

HELLO: list[Message] = [UserMessage(id="1", content="Hello there")]

Event = dict[str, Any]
Connect = Callable[[FakeLLM], AbstractAsyncContextManager[LLM]]

# Reading certificates is most of the cost of a client, and these make no TLS connections.


@asynccontextmanager
async def openai_chat(fake: FakeLLM) -> AsyncIterator[LLM]:
    http = openai.DefaultAsyncHttpxClient(verify=False)
    options: Any = {"base_url": fake.openai_url, "api_key": "key", "max_retries": 0}
    async with openai.AsyncOpenAI(**options, http_client=http) as client:
        yield OpenAIChat("fake", client=client)


@asynccontextmanager
async def anthropic_messages(fake: FakeLLM) -> AsyncIterator[LLM]:
    http = anthropic.DefaultAsyncHttpxClient(verify=False)
    options: Any = {"base_url": fake.anthropic_url, "api_key": "key", "max_retries": 0}
    async with anthropic.AsyncAnthropic(**options, http_client=http) as client:
        yield AnthropicMessages("fake", client=client)


WIRES: Mapping[str, Connect] = {"openai": openai_chat, "anthropic": anthropic_messages}


# One answer


class Outcome:
    """The result of one answer: its text, usage and error."""

    def __init__(self) -> None:
        self.text = ""
        self.usage: TokenUsage | None = None
        self.error: LLMError | None = None


async def read_answer(connect: Connect, reply: Reply) -> Outcome:
    outcome = Outcome()
    async with FakeLLM([reply]) as fake, connect(fake) as llm:
        try:
            async for piece in llm.stream(HELLO):
                if isinstance(piece, TokenUsage):
                    outcome.usage = piece
                else:
                    assert piece
                    outcome.text += piece
        except LLMError as error:
            outcome.error = error
    return outcome


async def whole(connect: Connect, reply: Reply) -> Outcome:
    outcome = await read_answer(connect, reply)
    assert outcome.error is None
    return outcome


async def refused(connect: Connect, reply: Reply) -> tuple[str, LLMError]:
    outcome = await read_answer(connect, reply)
    assert outcome.error is not None
    return outcome.text, outcome.error


# Events of a stream


def openai_delta(delta: Any, **choice: Any) -> Event:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None} | choice]}


def anthropic_delta(**delta: Any) -> Event:
    return {"type": "content_block_delta", "index": 0, "delta": delta}
