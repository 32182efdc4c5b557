"""The fakes: a script in process keeps the promises of the port, and the server lets go."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing

import pytest
from httpx2 import AsyncClient, TransportError
from hypothesis import given
from hypothesis import strategies as st

from agentws.agents.llm import LLMRateLimited, LLMUnavailable, status_error
from agentws.protocol.messages import Message, TokenUsage, UserMessage
from agentws.testing.fakellm import FakeLLM, Fault, Reply, ScriptedLLM

HELLO: list[Message] = [UserMessage(id="1", content="Hello there")]


@given(st.text())
def test_chunks_make_up_the_text(text: str) -> None:
    assert "".join(Reply(text).chunks) == text
    assert all(Reply(text).chunks)


async def test_it_echoes_unless_told_otherwise() -> None:
    llm = ScriptedLLM()
    async with aclosing(llm.stream(HELLO, instructions="Be brief.")) as pieces:
        *texts, usage = [piece async for piece in pieces]
    assert texts == ["You ", "said: ", "Hello ", "there"]
    assert usage == TokenUsage("scripted", "scripted", 4, 4, 8)
    assert [turn.role for turn in llm.requests[0]] == ["system", "user"]
    assert (llm.completed, llm.disconnects) == (1, 0)


async def test_replies_come_in_order_and_the_last_one_stays() -> None:
    llm = ScriptedLLM(["One", "Two"])
    said = []
    for _ in range(3):
        async with aclosing(llm.stream(HELLO)) as pieces:
            said.append(await anext(pieces))
    assert said == ["One", "Two", "Two"]


async def test_closing_it_is_counted() -> None:
    llm = ScriptedLLM(["one two"])
    async with aclosing(llm.stream(HELLO)) as pieces:
        await anext(pieces)
    assert (llm.completed, llm.disconnects) == (0, 1)


async def test_cancelling_a_stall_is_counted() -> None:
    llm = ScriptedLLM([Reply("one two", fault="stall")])
    begun = asyncio.Event()

    async def read() -> None:
        async with aclosing(llm.stream(HELLO)) as pieces:
            async for _ in pieces:
                begun.set()

    reader = asyncio.create_task(read())
    await begun.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert (llm.completed, llm.disconnects) == (0, 1)


@pytest.mark.parametrize("fault", ["drop", "truncate", "malformed", "error"])
@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_fault_strikes_after_so_many_chunks(fault: Fault, after: int) -> None:
    llm = ScriptedLLM([Reply("one two", fault=fault, after=after)])
    texts = []
    with pytest.raises(LLMUnavailable):
        async with aclosing(llm.stream(HELLO)) as pieces:
            async for piece in pieces:
                texts.append(piece)
    assert texts == ["one ", "two"][:after]


async def test_a_refusal_is_an_error_before_any_text() -> None:
    llm = ScriptedLLM([Reply(status=429, headers={"retry-after": "2"})])
    with pytest.raises(LLMRateLimited) as raised:
        await anext(llm.stream(HELLO))
    assert raised.value.retry_after == 2


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), (" 0.5 ", 0.5), ("", None), ("soon", None), ("-1", None), ("1.2.3", None)]
    + [(".", None), ("²", None), ("Fri, 31 Dec 1999 23:59:59 GMT", None), (None, None)],
)
def test_only_seconds_are_understood_of_retry_after(
    header: str | None, seconds: float | None
) -> None:
    assert status_error(429, retry_after=header).retry_after == seconds


async def test_the_server_does_not_wait_for_a_stalled_answer() -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    async with AsyncExitStack() as server, AsyncClient() as client:
        fake = await server.enter_async_context(FakeLLM([Reply("one two", fault="stall")]))
        async with client.stream("POST", f"{fake.openai_url}/chat/completions", json=body) as got:
            chunks = got.aiter_bytes()
            await anext(chunks)
            await server.aclose()
            with pytest.raises(TransportError):
                async for _ in chunks:
                    pass
    assert (fake.completed, fake.disconnects) == (0, 0)
