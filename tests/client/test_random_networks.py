"""The client with a gateway in the same process, over networks with random faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from agentws import Limits, MemoryStore, RunContext, SQLiteStore, mount_agent_gateway
from agentws.client import (
    Chat,
    LogEvent,
    MessageWithdrawn,
    Opening,
    RunCancelled,
    Transport,
    TransportClosed,
    Turn,
)
from agentws.errors import AgentwsError
from agentws.protocol.codec import Record
from agentws.protocol.fold import Fold
from agentws.store import Store
from agentws.testing import open_transport, running
from agentws.testing.oracle import check_log, read_log
from agentws.testing.virtual import virtual_run

from .fakes import FAST

LIMITS = Limits(message_rate=1e6, message_burst=10**6, max_queued=1000)


async def agent(ctx: RunContext) -> AsyncIterator[str]:
    for word in ctx.text.split():
        yield word + " "
        await asyncio.sleep(0)


class Fault(NamedTuple):
    """One connection breaks after ``life`` messages; ``lost`` says what is lost with it."""

    life: int
    lost: str


class Unreliable:
    """A transport with that fault. The message that breaks it may have arrived, or not."""

    def __init__(self, inner: Any, fault: Fault) -> None:
        self._inner, self._left, self._lost = inner, fault.life, fault.lost

    async def send(self, text: str) -> None:
        if self._lost != "sent" or self._left > 1:
            await self._inner.send(text)
        self._spend()

    async def recv(self) -> str | bytes:
        message: str | bytes = await self._inner.recv()
        self._spend()
        if self._left <= 0 and self._lost == "received":
            raise TransportClosed()
        return message

    async def close(self) -> None:
        await self._inner.close()

    def _spend(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._inner.drop()


def unreliable(app: Any, faults: list[Fault]) -> Callable[[Opening], Awaitable[Transport]]:
    inner_open = open_transport(app)
    left = iter(faults)

    async def open_one(opening: Opening) -> Transport:
        inner = await inner_open(opening)
        fault = next(left, None)
        return inner if fault is None else Unreliable(inner, fault)

    return open_one


faults = st.lists(
    st.builds(Fault, st.integers(1, 12), st.sampled_from(["sent", "received", "nothing"])),
    max_size=12,
)


class Act(NamedTuple):
    """One of two chats sends a text, and may stop its answer."""

    by: int
    text: str
    stop: bool


acts = st.lists(
    st.builds(Act, st.integers(0, 1), st.sampled_from(["a", "b c", "d e f g"]), st.booleans()),
    min_size=1,
    max_size=5,
)


@settings(max_examples=200, deadline=None)
@given(first=faults, second=faults, acts=acts)
def test_two_chats_of_a_session_end_with_the_same_log(
    first: list[Fault], second: list[Fault], acts: list[Act]
) -> None:
    virtual_run(scenario(MemoryStore(), [first, second], acts))


@settings(max_examples=15, deadline=None)
@given(first=faults, second=faults, acts=acts)
def test_two_chats_of_a_session_on_disk_end_with_the_same_log(
    first: list[Fault], second: list[Fault], acts: list[Act]
) -> None:
    with TemporaryDirectory() as folder:
        store = SQLiteStore(Path(folder) / "log.db", synchronous="NORMAL")
        asyncio.run(scenario(store, [first, second], acts))


async def scenario(store: Store, faults: list[list[Fault]], acts: list[Act]) -> None:
    app = Starlette()
    mount_agent_gateway(app, agent, store=store, limits=LIMITS)
    session = "a-session-of-two-chats"
    async with running(app), asyncio.timeout(20):
        one, two = (Chat(unreliable(app, fault), session=session, timing=FAST) for fault in faults)
        watched = [one.watch(), two.watch()]
        async with one, two:
            turns = [(one, two)[act.by].send(act.text) for act in acts]
            stops = [turn.cancel() for turn, act in zip(turns, acts, strict=True) if act.stop]
            ends = await asyncio.gather(*map(end_of, turns), *stops)
            # If a message is withdrawn just as its run begins, the run ends after the turn.
            records = await settled_log(store, session, one, two)
            check_log(records, accepted=[turn.id for turn in turns])
            truth = Fold().apply_all(records).messages
            assert one.messages == truth and two.messages == truth
            for said, act in zip(ends, acts, strict=False):
                assert said == act.text + " " or act.stop, (said, act)
        for updates in watched:
            check_positions([update async for update in updates if isinstance(update, LogEvent)])


async def settled_log(store: Store, session: str, *chats: Chat) -> list[Record]:
    """The log, once nothing in it is open and both chats have received all of it."""
    while True:
        epoch, records = await read_log(store, session)
        end = f"{epoch}.{records[-1].seq}.{records[-1].tag}"
        done = Fold().apply_all(records).outline.is_settled()
        if done and all(chat.position == end for chat in chats):
            return records
        await asyncio.sleep(0.001)


async def end_of(turn: Turn) -> str | type[AgentwsError]:
    try:
        return await turn.text()
    except (RunCancelled, MessageWithdrawn) as error:
        return type(error)


def check_positions(entries: list[LogEvent]) -> None:
    """Positions only increase, except at a snapshot; no event comes twice."""
    before = -1
    for entry in entries:
        seq = int(entry.position.split(".")[1])
        kind = entry.event.__struct_config__.tag
        if kind == "MESSAGES_SNAPSHOT" and entry.run is None:
            before = seq
        elif seq == before:
            assert entry.run is None
        else:
            assert seq > before, (seq, before)
            before = seq
