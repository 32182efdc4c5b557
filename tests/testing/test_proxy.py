"""The fault proxy: each fault does to a connection what it says, and no more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agentws.testing.proxy import FaultProxy

WITHIN = 10.0


class Echo:
    """A server that sends back what it reads, and knows how its connections ended."""

    def __init__(self) -> None:
        self.received = b""
        self.ended: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                self.received += data
                writer.write(data)
                await writer.drain()
            self.ended.append("closed")
        except ConnectionResetError:
            self.ended.append("reset")
        finally:
            writer.close()


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Echo, FaultProxy]]:
    echo = Echo()
    async with await asyncio.start_server(echo.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with FaultProxy(port) as proxy, asyncio.timeout(WITHIN):
            yield echo, proxy


@asynccontextmanager
async def connected(
    proxy: FaultProxy,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes
) -> bytes:
    writer.write(data)
    return await reader.readexactly(len(data))


async def silent(reader: asyncio.StreamReader, seconds: float = 0.1) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


async def until(condition: object) -> None:
    while not condition():  # type: ignore[operator]  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def test_without_a_fault_everything_passes_in_order() -> None:
    async with proxied() as (_, proxy), connected(proxy) as (reader, writer):
        data = bytes(range(256)) * 2000
        assert await exchange(reader, writer, data) == data
        assert (proxy.accepted, proxy.connections) == (1, 1)


@pytest.mark.parametrize(("chunk", "rate"), [(1, None), (None, 50_000.0), (7, 100_000.0)])
async def test_split_and_slow_data_is_the_same_data(chunk: int | None, rate: float | None) -> None:
    async with proxied() as (_, proxy), connected(proxy) as (reader, writer):
        proxy.chunk, proxy.rate = chunk, rate
        data = bytes(range(250)) * 20
        begun = time.monotonic()
        assert await exchange(reader, writer, data) == data
        assert rate is None or time.monotonic() - begun >= len(data) / rate


async def test_a_delay_holds_every_answer_back() -> None:
    async with proxied() as (_, proxy), connected(proxy) as (reader, writer):
        proxy.delay = 0.05
        begun = time.monotonic()
        await exchange(reader, writer, b"hello")
        assert time.monotonic() - begun >= 0.1


async def test_what_a_blackhole_holds_back_arrives_when_it_is_healed() -> None:
    async with proxied() as (echo, proxy), connected(proxy) as (reader, writer):
        await exchange(reader, writer, b"one")
        proxy.blackhole()
        writer.write(b"two")
        async with connected(proxy) as (late, later):
            later.write(b"three")
            assert await silent(reader) and await silent(late)
            assert echo.received == b"one"
            proxy.heal()
            assert await reader.readexactly(3) == b"two"
            assert await late.readexactly(5) == b"three"


async def test_a_blackhole_of_answers_lets_requests_pass() -> None:
    async with proxied() as (echo, proxy), connected(proxy) as (reader, writer):
        proxy.blackhole("down")
        writer.write(b"hello")
        await until(lambda: echo.received == b"hello")
        assert await silent(reader)


async def test_a_close_does_not_pass_a_blackhole() -> None:
    async with proxied() as (echo, proxy):
        async with connected(proxy) as (reader, writer):
            await exchange(reader, writer, b"hello")
            proxy.blackhole()
        await asyncio.sleep(0.05)
        assert echo.ended == []
        proxy.heal()
        await until(lambda: len(echo.ended) == 1)


async def test_a_cut_closes_both_sides_and_a_reset_breaks_them() -> None:
    async with proxied() as (echo, proxy):
        async with connected(proxy) as (reader, writer):
            await exchange(reader, writer, b"hello")
            proxy.cut()
            assert await reader.read() == b""
            await until(lambda: echo.ended == ["closed"])
        async with connected(proxy) as (reader, writer):
            await exchange(reader, writer, b"hello")
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            await until(lambda: echo.ended == ["closed", "reset"])
        await until(lambda: proxy.connections == 0)


async def test_a_half_open_connection_is_silent_and_new_ones_pass() -> None:
    async with proxied() as (echo, proxy), connected(proxy) as (reader, writer):
        await exchange(reader, writer, b"one")
        proxy.half_open()
        await until(lambda: echo.ended == ["reset"])
        writer.write(b"two")
        assert await silent(reader)
        assert echo.received == b"one"
        async with connected(proxy) as (other, another):
            assert await exchange(other, another, b"three") == b"three"


async def test_new_connections_are_refused_and_old_ones_pass() -> None:
    async with proxied() as (_, proxy), connected(proxy) as (reader, writer):
        await exchange(reader, writer, b"one")
        proxy.refusing = True
        async with connected(proxy) as (refused, _):
            with pytest.raises(ConnectionResetError):
                await refused.read()
        assert await exchange(reader, writer, b"two") == b"two"


async def test_a_server_that_does_not_listen_is_a_closed_connection() -> None:
    async with proxied() as (_, proxy):
        async with await asyncio.start_server(Echo().serve, "127.0.0.1", 0) as server:
            proxy.target = ("127.0.0.1", server.sockets[0].getsockname()[1])
        async with connected(proxy) as (reader, _):
            assert await reader.read() == b""
