"""Both adapters with their real SDKs against the fake model server, set up for fast tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Any

import anthropic
import openai

from agentws.agents.llm import LLM, LLMError, LLMPiece
from agentws.integrations.anthropic import AnthropicMessages
from agentws.integrations.openai import OpenAIChat
from agentws.protocol.events import (
    ReasoningEncryptedValue,
    ReasoningMessageChunk,
    ToolCallChunk,
)
from agentws.protocol.messages import Message, TokenUsage, Tool, UserMessage
from agentws.testing.fakellm import FakeLLM, Reply

HELLO: list[Message] = [UserMessage(id="1", content="Hello there")]

Event = dict[str, Any]
Connect = Callable[[FakeLLM], AbstractAsyncContextManager[LLM]]
HTTP: Any = import_module(openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0])
"""The HTTP library of both SDKs: httpx, and httpx2 for newer ones."""

# Reading certificates is most of the cost of a client, and these make no TLS connections.


@asynccontextmanager
async def openai_chat(fake: FakeLLM) -> AsyncIterator[LLM]:
    http = openai.DefaultAsyncHttpxClient(verify=False)
    options: Any = {"base_url": fake.openai_url, "api_key": "key", "max_retries": 0}
    async with openai.AsyncOpenAI(**options, http_client=http) as client:
        yield OpenAIChat("fake", client=client, max_retries=0)


@asynccontextmanager
async def anthropic_messages(fake: FakeLLM) -> AsyncIterator[LLM]:
    http = anthropic.DefaultAsyncHttpxClient(verify=False)
    options: Any = {"base_url": fake.anthropic_url, "api_key": "key", "max_retries": 0}
    async with anthropic.AsyncAnthropic(**options, http_client=http) as client:
        yield AnthropicMessages("fake", client=client, max_retries=0)


WIRES: Mapping[str, Connect] = {"openai": openai_chat, "anthropic": anthropic_messages}


# One answer


class Outcome:
    """The result of one answer: its text, reasoning, calls, usage and error."""

    def __init__(self) -> None:
        self.text = ""
        self.reasoning = ""
        self.calls: dict[str, tuple[str, str]] = {}
        """Name and arguments of each call, by its id."""
        self.sealed: list[ReasoningEncryptedValue] = []
        self.usage: TokenUsage | None = None
        self.error: LLMError | None = None

    def add(self, piece: LLMPiece) -> None:
        match piece:
            case TokenUsage():
                assert self.usage is None
                self.usage = piece
            case str():
                assert piece
                self.text += piece
            case ReasoningMessageChunk(delta=delta):
                assert delta
                self.reasoning += delta
            case ToolCallChunk(tool_call_id=str(id), tool_call_name=str(name)):
                assert id not in self.calls
                self.calls[id] = name, piece.delta or ""
            case ToolCallChunk(tool_call_id=str(id), delta=str(delta)):
                name, arguments = self.calls[id]
                self.calls[id] = name, arguments + delta
            case ReasoningEncryptedValue():
                self.sealed.append(piece)
            case _:
                raise AssertionError(piece)


async def read_answer(connect: Connect, reply: Reply, tools: Sequence[Tool] = ()) -> Outcome:
    outcome = Outcome()
    async with FakeLLM([reply]) as fake, connect(fake) as llm:
        try:
            async for piece in llm.stream(HELLO, tools=tools):
                outcome.add(piece)
        except LLMError as error:
            outcome.error = error
    return outcome


async def whole(connect: Connect, reply: Reply, tools: Sequence[Tool] = ()) -> Outcome:
    outcome = await read_answer(connect, reply, tools)
    assert outcome.error is None
    return outcome


async def refused(
    connect: Connect, reply: Reply, tools: Sequence[Tool] = ()
) -> tuple[str, LLMError]:
    outcome = await read_answer(connect, reply, tools)
    assert outcome.error is not None
    return outcome.text, outcome.error


# Events of a stream


def openai_delta(delta: Any, **choice: Any) -> Event:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None} | choice]}


def anthropic_delta(**delta: Any) -> Event:
    return {"type": "content_block_delta", "index": 0, "delta": delta}
