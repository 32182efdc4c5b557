"""Both adapters on the real SDKs, against the fake server, as quickly as tests want them."""

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

# The clients make no TLS connections, and most of what a client costs is reading certificates.


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


class Heard:
    """What came of one answer."""

    def __init__(self) -> None:
        self.text = ""
        self.usage: TokenUsage | None = None
        self.error: LLMError | None = None


async def hear(connect: Connect, reply: Reply) -> Heard:
    heard = Heard()
    async with FakeLLM([reply]) as fake, connect(fake) as llm:
        try:
            async for piece in llm.stream(HELLO):
                if isinstance(piece, TokenUsage):
                    heard.usage = piece
                else:
                    assert piece
                    heard.text += piece
        except LLMError as error:
            heard.error = error
    return heard


async def whole(connect: Connect, reply: Reply) -> Heard:
    heard = await hear(connect, reply)
    assert heard.error is None
    return heard


async def refused(connect: Connect, reply: Reply) -> tuple[str, LLMError]:
    heard = await hear(connect, reply)
    assert heard.error is not None
    return heard.text, heard.error


# Events of a stream


def openai_delta(delta: Any, **choice: Any) -> Event:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None} | choice]}


def anthropic_delta(**delta: Any) -> Event:
    return {"type": "content_block_delta", "index": 0, "delta": delta}
