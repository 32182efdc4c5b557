"""The fake models: the in-process script keeps the port's contract; the server can be stopped."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing

import pytest
from httpx2 import AsyncClient, TransportError
from hypothesis import given
from hypothesis import strategies as st

from agentws.agents.llm import (
    LLMCutOff,
    LLMEmpty,
    LLMError,
    LLMRateLimited,
    LLMRefused,
    LLMUnavailable,
    status_error,
)
from agentws.protocol.messages import Message, TokenUsage, UserMessage
from agentws.testing.fakellm import FakeLLM, Fault, Reply, ScriptedLLM

HELLO: list[Message] = [UserMessage(id="1", content="Hello there")]


@given(st.text())
def test_the_chunks_join_to_the_text(text: str) -> None:
    assert "".join(Reply(text).chunks) == text
    assert all(Reply(text).chunks)


async def test_the_default_script_echoes_the_user() -> None:
    llm = ScriptedLLM()
    async with aclosing(llm.stream(HELLO, instructions="Be brief.")) as pieces:
        *texts, usage = [piece async for piece in pieces]
    assert texts == ["You ", "said: ", "Hello ", "there"]
    assert usage == TokenUsage("scripted", "scripted", 4, 4, 8)
    assert [turn.role for turn in llm.requests[0]] == ["system", "user"]
    assert (llm.completed, llm.disconnects) == (1, 0)


async def test_replies_are_used_in_order_and_the_last_one_is_repeated() -> None:
    llm = ScriptedLLM(["One", "Two"])
    said = []
    for _ in range(3):
        async with aclosing(llm.stream(HELLO)) as pieces:
            said.append(await anext(pieces))
    assert said == ["One", "Two", "Two"]


async def test_a_closed_stream_is_counted_as_a_disconnect() -> None:
    llm = ScriptedLLM(["one two"])
    async with aclosing(llm.stream(HELLO)) as pieces:
        await anext(pieces)
    assert (llm.completed, llm.disconnects) == (0, 1)


async def test_a_cancelled_stall_is_counted_as_a_disconnect() -> None:
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


@pytest.mark.parametrize("fault", ["drop", "truncate", "malformed", "error", "rate_limit"])
@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_fault_happens_after_the_given_number_of_chunks(fault: Fault, after: int) -> None:
    llm = ScriptedLLM([Reply("one two", fault=fault, after=after)])
    texts = []
    with pytest.raises(LLMUnavailable) as raised:
        async with aclosing(llm.stream(HELLO)) as pieces:
            async for piece in pieces:
                texts.append(piece)
    assert texts == ["one ", "two"][:after]
    assert isinstance(raised.value, LLMRateLimited) == (fault == "rate_limit")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply("one two", finish="length"), LLMCutOff),
        (Reply("one two", finish="banana"), LLMCutOff),
        (Reply("one two", finish="refused"), LLMRefused),
        (Reply("one two", finish=None), LLMUnavailable),
        (Reply(" "), LLMEmpty),
    ],
    ids=["length", "another reason", "refused", "no reason", "empty"],
)
async def test_an_incomplete_scripted_answer_raises_an_error(
    reply: Reply, error: type[LLMError]
) -> None:
    pieces = []
    with pytest.raises(error):
        async with aclosing(ScriptedLLM([reply]).stream(HELLO)) as answer:
            async for piece in answer:
                pieces.append(piece)
    assert pieces[:-1] == reply.chunks


async def test_a_refused_request_raises_before_any_text() -> None:
    llm = ScriptedLLM([Reply(status=429, headers={"retry-after": "2"})])
    with pytest.raises(LLMRateLimited) as raised:
        await anext(llm.stream(HELLO))
    assert raised.value.retry_after == 2


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), (" 0.5 ", 0.5), ("", None), ("soon", None), ("-1", None), ("1.2.3", None)]
    + [
        (".", None),
        ("²", None),
        ("9" * 400, None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        (None, None),
    ],
)
def test_retry_after_is_used_only_in_seconds(header: str | None, seconds: float | None) -> None:
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


PATHS = ["/v1/chat/completions", "/v1/messages"]


async def body(path: str, reply: Reply) -> bytes:
    """The body that the server sends for ``reply``."""
    asked = {"messages": [{"role": "user", "content": "Hi"}]}
    async with FakeLLM([reply]) as fake, AsyncClient() as client:
        return (await client.post(f"{fake.url}{path}", json=asked)).content


@pytest.mark.parametrize("path", PATHS)
async def test_text_given_in_pieces_is_sent_in_exactly_these_pieces(path: str) -> None:
    sent = await body(path, Reply(["one two ", "", "\ud83d"]))
    assert [sent.count(piece) for piece in (b'"one two "', b'"\\ud83d"')] == [1, 1]


@pytest.mark.parametrize("path", PATHS)
async def test_extra_events_are_sent_unchanged_after_the_text(path: str) -> None:
    sent = await body(path, Reply("one", events=[{"odd": None}, None, [5], b"not even JSON\n\n"]))
    places = [sent.index(part) for part in (b"one", b'data: {"odd": null}', b"data: null")]
    places += [sent.index(part) for part in (b"data: [5]", b"not even JSON")]
    assert places == sorted(places)


@pytest.mark.parametrize("path", PATHS)
async def test_events_can_be_changed_and_left_out(path: str) -> None:
    seen: list[dict[str, object]] = []

    def edit(event: dict[str, object]) -> object:
        seen.append(event)
        return {"type": "changed", "number": len(seen)} if len(seen) < 3 else None

    sent = await body(path, Reply("one two three", edit=edit))
    assert len(seen) > 3
    assert sent.count(b"data: ") - sent.count(b"[DONE]") == 2
    assert sent.count(b'{"type": "changed", "number": ') == 2


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("finish", "said"), [("odd", b'"odd"'), (None, b"null"), (5, b"5")])
async def test_an_answer_may_end_with_any_finish_reason(
    path: str, finish: object, said: bytes
) -> None:
    sent = await body(path, Reply("one", finish=finish))
    assert b'_reason": ' + said in sent
