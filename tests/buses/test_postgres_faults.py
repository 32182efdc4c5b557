"""The bus of PostgreSQL loses messages only where it says so, and its connection heals."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from agentws.backends.postgres import PostgresBus
from agentws.backends.postgres import bus as postgres_bus
from agentws.backends.postgres.messages import (
    LARGEST,
    Outbox,
    Part,
    Reassembly,
    decode,
)
from agentws.bus import GAP
from agentws.errors import Unavailable
from agentws.testing.contract_base import eventually
from tests.servers.postgres import PostgresServer

Heard = list[bytes]
ECHO = 0.1
"""Seconds in which a probe must have come back, in a test that blocks the loop for longer."""


@asynccontextmanager
async def a_pair(url: str, schema: str) -> AsyncIterator[tuple[PostgresBus, PostgresBus]]:
    one, other = PostgresBus(url, schema=schema), PostgresBus(url, schema=schema)
    await one.open()
    await other.open()
    try:
        yield one, other
    finally:
        await one.close()
        await other.close()


async def heard_by(heard: Heard, wanted: bytes) -> None:
    async def there() -> bool:
        return wanted in heard

    await eventually(there, within=20)


async def listen(one: PostgresBus, other: PostgresBus, channel: str) -> Heard:
    """What ``one`` hears of the channel from now on; ``other`` reaches it."""
    heard: Heard = []
    one.subscribe(channel, lambda _, payload: heard.append(payload))

    async def reached() -> bool:
        other.publish(channel, b"reached?")
        return bool(heard)

    await eventually(reached, within=20)
    heard.clear()
    return heard


async def test_after_a_lost_connection_every_listener_is_told_of_the_gap(
    postgres: PostgresServer,
) -> None:
    async with a_pair(postgres.url, "gaps") as (one, other):
        heard = await listen(one, other, "s:1")
        assert await asyncio.to_thread(postgres.disconnect_all) >= 2
        await heard_by(heard, GAP)

        # The server may end the connection of the sender later: a message on it is then lost.
        async def reached() -> bool:
            other.publish("s:1", b"after")
            return b"after" in heard

        await eventually(reached, within=20)


async def test_messages_arrive_again_after_a_restart_of_the_server() -> None:
    with PostgresServer() as server:
        async with a_pair(server.url, "restarted") as (one, other):
            heard = await listen(one, other, "s:1")
            await asyncio.to_thread(server.stop)
            heard.clear()
            other.publish("s:1", b"17")
            await asyncio.to_thread(server.start)
            await heard_by(heard, GAP)
            other.publish("s:1", b"18")
            await heard_by(heard, b"18")


async def test_a_frozen_server_is_noticed_without_an_error_of_the_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(postgres_bus, "PROBE_INTERVAL", 0.1)
    patient = postgres_bus.TIMEOUT
    with PostgresServer() as server:
        async with a_pair(server.url, "frozen") as (one, other):
            heard = await listen(one, other, "s:1")

            async def probed() -> bool:
                return one._heard and other._heard

            await eventually(probed, within=20)
            monkeypatch.setattr(postgres_bus, "TIMEOUT", 0.5)
            warnings = caplog.text.count("notifications are not received")
            server.pause()

            async def noticed() -> bool:
                """By both: to the one that is slower, the server was only slow."""
                return caplog.text.count("notifications are not received") >= warnings + 2

            await eventually(noticed, within=20)
            monkeypatch.setattr(postgres_bus, "TIMEOUT", patient)
            server.resume()
            await heard_by(heard, GAP)


@pytest.mark.parametrize("during", ["_probe", "_notify"])
async def test_a_connection_lost_before_its_first_notification_is_made_again_at_once(
    postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    during: str,
) -> None:
    """Also while that one is awaited: it says nothing of notifications."""
    original = getattr(PostgresBus, during)

    async def lost(*_: object) -> None:
        monkeypatch.setattr(PostgresBus, during, original)
        if during == "_probe":
            raise psycopg.OperationalError("the connection is lost")
        await asyncio.to_thread(postgres.disconnect_all)

    monkeypatch.setattr(PostgresBus, during, lost)
    monkeypatch.setattr(postgres_bus, "ECHO", 1000.0)
    monkeypatch.setattr(postgres_bus, "DEAF_PAUSE", 1000.0)
    bus, heard = PostgresBus(postgres.url, schema="early"), Heard()
    bus.subscribe("s:1", lambda _, payload: heard.append(payload))
    await bus.open()
    await heard_by(heard, GAP)
    await bus.close()
    assert "pooler" not in caplog.text


async def test_a_notification_that_arrived_while_the_loop_was_blocked_was_heard(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the loop goes on, it finds both that one and that the time for it is over."""
    loop = asyncio.get_running_loop()
    arriving, sending = socket.socketpair()

    async def blocked(bus: PostgresBus, payloads: list[str]) -> None:
        def receive() -> None:
            loop.remove_reader(arriving)
            bus._received(payloads[0])

        def block() -> None:
            sending.send(b".")
            time.sleep(3 * ECHO)

        loop.add_reader(arriving, receive)
        loop.call_soon(block)

    monkeypatch.setattr(PostgresBus, "_notify", blocked)
    monkeypatch.setattr(postgres_bus, "ECHO", ECHO)
    bus = PostgresBus(postgres.url, schema="blocked")

    async def decided() -> bool:
        return bus._heard or "pooler" in caplog.text

    with arriving, sending:
        await bus.open()
        await eventually(decided, within=20)
        await bus.close()
    assert "pooler" not in caplog.text


async def test_a_bus_without_a_server_can_not_be_opened() -> None:
    bus = PostgresBus("postgresql://postgres@127.0.0.1:1/postgres")
    with pytest.raises(Unavailable):
        await bus.open()
    bus.publish("s:1", b"1")
    await bus.close()


async def test_notifications_of_another_program_are_ignored(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    poison = ("", "hello", "{}", '["n"]', '["n", [["c"]]]', '["n", [["c", "not base64!"]]]', "[[")
    many = '["n", [["c", "eA==", 0, 1000000000], ["c", "eA==", -1, 2], ["c", "eA==", 5, 2]]]'
    async with a_pair(postgres.url, "poisoned") as (one, other):
        heard = await listen(one, other, "c")
        with caplog.at_level(logging.WARNING, "agentws"):
            for text in (*poison, many):
                postgres.query("SELECT pg_notify('agentws_poisoned', %s)", text)
            other.publish("c", b"good")
            await heard_by(heard, b"good")
        assert set(heard) - {b"reached?"} == {b"good"}
        assert "a notification of another program was ignored" in caplog.text


async def test_a_large_message_arrives_whole(postgres: PostgresServer) -> None:
    async with a_pair(postgres.url, "large") as (one, other):
        heard = await listen(one, other, "broadcast")
        large = random.Random(1).randbytes(300_000)
        other.publish("broadcast", large)
        await heard_by(heard, large)


async def test_what_was_published_before_the_close_is_sent(postgres: PostgresServer) -> None:
    async with a_pair(postgres.url, "closing") as (one, other):
        heard: Heard = []
        one.subscribe("c", lambda _, payload: heard.append(payload))
        other.publish("c", b"first")
        await heard_by(heard, b"first")
        for number in range(50):
            other.publish("c", b"%d" % number)
        await other.close()
        await heard_by(heard, b"49")


async def test_a_message_is_sent_at_once_and_those_that_follow_it_together(
    postgres: PostgresServer,
) -> None:
    one = PostgresBus(postgres.url, schema="paced")
    other = PostgresBus(postgres.url, schema="paced", interval=60.0)
    await one.open()
    await other.open()
    heard: Heard = []
    one.subscribe("s:1", lambda _, payload: heard.append(payload))
    try:
        other.publish("s:1", b"1")
        await heard_by(heard, b"1")
        other.publish("s:1", b"2")
        await asyncio.sleep(0.05)
        other.publish("s:1", b"3")
        await other.close()
        await heard_by(heard, b"3")
        assert heard == [b"1", b"3"]
    finally:
        await other.close()
        await one.close()


# What is sent


def sent(outbox: Outbox) -> list[tuple[str, bytes]]:
    texts = outbox.take()
    assert all(len(text.encode()) <= LARGEST for text in texts)
    reassembly = Reassembly()
    messages: list[tuple[str, bytes]] = []
    for text in texts:
        decoded = decode(text)
        assert decoded is not None
        messages += reassembly.add(*decoded)
    return messages


def test_of_the_rings_of_a_session_only_the_newest_is_sent() -> None:
    outbox = Outbox("n")
    for channel, end in (("s:1", b"1"), ("s:1", b"2"), ("s:2", b"7"), ("s:1", b"3")):
        outbox.add(channel, end)
    assert sent(outbox) == [("s:1", b"3"), ("s:2", b"7")]
    assert outbox.take() == []


def test_messages_that_are_no_rings_are_all_sent_in_their_order() -> None:
    outbox = Outbox("n")
    outbox.add("c", b"1")
    outbox.add("c", b"x")
    outbox.add("c", b"y")
    outbox.add("c", b"2")
    assert sent(outbox) == [("c", b"1"), ("c", b"x"), ("c", b"y"), ("c", b"2")]


def test_any_messages_are_packed_and_come_out_as_they_were() -> None:
    for seed in range(50):
        chance = random.Random(seed)
        outbox = Outbox("node")
        messages = [
            (
                chance.choice(["a", "b" * 200, 'q"\\', "世界"]),
                b"!" + chance.randbytes(chance.choice([0, 1, 50, 4_499, 4_500, 30_000])),
            )
            for _ in range(chance.randint(1, 40))
        ]
        for message in messages:
            outbox.add(*message)
        assert sent(outbox) == messages


def test_a_message_of_which_a_part_was_lost_is_not_delivered() -> None:
    reassembly = Reassembly()
    parts = [Part("c", b"%d" % n, n, 3) for n in range(3)]
    assert list(reassembly.add("n", parts[:1])) == []
    assert list(reassembly.add("n", parts[2:])) == []
    assert list(reassembly.add("n", [parts[1], *parts[:2]])) == []
    assert list(reassembly.add("other", parts[2:])) == []
    assert list(reassembly.add("n", parts[2:])) == [("c", b"012")]


def test_a_channel_whose_name_is_too_long_is_said_and_does_not_stop_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox = Outbox("n")
    outbox.add("c" * 9_000, b"x")
    outbox.add("d", b"y")
    outbox.add("e", b"z" * 5_000_000)
    assert sent(outbox) == [("d", b"y")]
    assert "the name of its channel is too long" in caplog.text
    assert "expected at most" in caplog.text
