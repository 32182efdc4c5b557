"""Random schedules of steering and of a changed queue: two clients, two nodes, and nodes that die.

Every node is frozen now and then, as if it had died, and wakes up when another has its sessions.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from agentws import RunContext
from agentws.protocol import events as e
from agentws.protocol.codec import Record, decode_event, decode_record
from agentws.protocol.fold import Fold
from agentws.protocol.outline import Outline
from agentws.testing.connect import Client, Closed, Frame
from agentws.testing.laws import moments, violations
from agentws.testing.oracle import check_client, check_log, read_log
from agentws.testing.virtual import virtual_run
from tests.runs.nodes import Node, memory_store, nodes

from .stores import End, Jittery

SESSION = "a-session-that-is-steered"
SCHEDULES = 60
FRAMES = 25
QUEUE = 5
PATIENCE = 60.0

pytestmark = pytest.mark.timeout(600)

Got = list[tuple[str, str]]
Seen = list[tuple[int, list[tuple[str, Any]]]]
"""The queue of a client at each position, once it has read everything of its beginning."""


class Agent:
    """Takes steering messages between steps, as they come, or not at all."""

    def __init__(self) -> None:
        self.got: Got = []

    async def __call__(self, ctx: RunContext) -> AsyncIterator[str]:
        match ctx.text.split()[0]:
            case "steps":
                for step in range(4):
                    yield f"{step} "
                    await asyncio.sleep(0.1)
                    for message in await ctx.steered():
                        self.got.append((ctx.run_id, message.id))
            case "listens":
                async with asyncio.timeout(0.6):
                    async for message in ctx.steering():
                        self.got.append((ctx.run_id, message.id))
                        yield f"took {message.id} "
            case "deaf":
                yield "working"
                await asyncio.sleep(0.4)
            case _:
                await asyncio.sleep(0.1)
                raise ValueError("as asked")


class Tab:
    """One client; it goes to the other node when its own does not answer."""

    def __init__(self, made: list[Node], number: int) -> None:
        self._nodes = made
        self._on = number % 2
        self.client = Client(made[self._on].app, f"/ws/chat?session={SESSION}")
        self._fold = Fold()
        self._read = 0
        self._trusted = 0
        self.seen: Seen = []

    async def connect(self) -> None:
        while True:
            try:
                await self.client.reconnect(self._nodes[self._on].app)
                await self.client.until("welcome", within=PATIENCE)
                return
            except (Closed, AssertionError):
                self._on = 1 - self._on
                await asyncio.sleep(0.1)

    async def ask(self, frame: Frame) -> str:
        """The code of the refusal, or ``accepted``. It is sent until it is answered."""
        while True:
            try:
                reply = await asyncio.wait_for(self.client.ask(frame), 3)
            except (Closed, TimeoutError):
                self._on = 1 - self._on
                await self.connect()
                continue
            code = str(reply.get("code", "accepted"))
            if code not in ("unavailable", "conflict"):
                return code
            await asyncio.sleep(0.1)

    def fold(self, head: int) -> None:
        """Folds what came since. ``head``: the end of the log, which every frame so far is in."""
        self.client.take_waiting()
        fresh, self._read = self.client.frames[self._read :], len(self.client.frames)
        for frame in fresh:
            if frame.get("type") == "welcome" and frame["resume"] != "replay":
                self._trusted = head
            if "event" not in frame:
                continue
            event = decode_event(msgspec.json.encode(frame["event"]))
            if isinstance(event, e.MessagesSnapshot) and "run" not in frame:
                self._fold = Fold()
            self._fold.apply(event, frame.get("run"))
            seq = int(frame["id"].split(".")[1])
            if seq > self._trusted:
                self.seen.append((seq, queue_of(self._fold.outline)))


def queue_of(outline: Outline) -> list[tuple[str, Any]]:
    return [(id, one.message.content) for id, one in outline.queue.items()]


class Schedule:
    """One random schedule, and its result."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._number = 0
        self._sent: list[str] = []
        self.agent = Agent()
        self.records: list[Record] = []
        self.codes: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []

    async def play(self) -> None:
        chance = self._chance
        most, failing = chance.choice((0.0, 0.01, 0.1)), chance.choice((0.0, 0.0, 0.03))
        base = memory_store()
        store = Jittery(base, End(), most=most, failing=failing, seed=chance.randrange(999))
        lossy = chance.choice((None, 1.0))
        async with nodes(
            self.agent, store=store, lossy=lossy, max_queued=QUEUE, lease_ttl=1.0
        ) as made:
            tabs = [Tab(made, number) for number in range(2)]
            for tab in tabs:
                await tab.connect()
            crashing = asyncio.create_task(self._crash(made))
            watching = asyncio.create_task(self._watch(tabs, base))
            await asyncio.gather(*(self._use(tab) for tab in tabs))
            await crashing
            await self._settle(tabs, base)
            watching.cancel()
            self._check(tabs, await read_log(base, SESSION))
            for tab in tabs:
                tab.client.drop()

    async def _crash(self, made: list[Node]) -> None:
        for _ in range(self._chance.choice((0, 1, 2))):
            await asyncio.sleep(self._chance.uniform(0.2, 2))
            node = self._chance.choice(made)
            node.freeze()
            await asyncio.sleep(self._chance.uniform(0.1, 4))
            node.thaw()

    async def _watch(self, tabs: Sequence[Tab], store: Any) -> None:
        while True:
            await asyncio.sleep(0.01)
            head = (await store.head(SESSION)).position.seq
            for tab in tabs:
                tab.fold(head)

    async def _use(self, tab: Tab) -> None:
        for _ in range(FRAMES):
            await asyncio.sleep(self._chance.choice((0.0, 0.01, self._chance.uniform(0, 0.3))))
            frame = self._frame()
            self.codes[frame["type"], await tab.ask(frame)] += 1

    def _frame(self) -> Frame:
        chance = self._chance
        self._number += 1
        id, recent = f"x{self._number}", self._sent[-4:] or ["m0"]
        message = chance.choice(recent)
        says = f"{chance.choice(('steps', 'listens', 'deaf', 'deaf', 'fails'))} {self._number}"
        match chance.choices(
            ("send", "again", "edit", "promote", "withdraw", "cancel"), (12, 1, 4, 4, 2, 2)
        )[0]:
            case "send":
                self._sent.append(f"m{self._number}")
                overlap = chance.choice(("queue", "queue", "steer", "steer", "interrupt"))
                frame = {"type": "send", "id": self._sent[-1], "content": says}
                return frame | {"overlap": overlap}
            case "edit":
                return {"type": "edit_queued", "id": id, "message": message, "content": says}
            case "cancel":
                return {"type": "cancel", "id": id}
            case "again":
                return {"type": "send", "id": message, "content": "another body"}
            case does:
                return {"type": does, "id": id, "message": message}

    async def _settle(self, tabs: Sequence[Tab], store: Any) -> None:
        """Waits until nothing is open, and every tab has read everything."""
        for _ in range(400):
            await asyncio.sleep(0.2)
            _, records = await read_log(store, SESSION)
            for tab in tabs:
                tab.client.take_waiting()
                if tab.client.closed is not None:
                    await tab.connect()
            heads = {(tab.client.position or ".0.").split(".")[1] for tab in tabs}
            if moments(records)[-1].settled and heads == {str(len(records))}:
                return
        self.wrong.append(f"not settled: {moments(records)[-1]}, tabs at {heads}")

    def _check(self, tabs: Sequence[Tab], log: tuple[str, list[Record]]) -> None:
        epoch, self.records = log
        self.wrong += map(str, violations(self.records, max_queued=QUEUE))
        self.wrong += _mistaken(self.records, self.agent.got)
        queues = _queues(self.records)
        for tab in tabs:
            tab.fold(len(self.records))
            for seq, queue in tab.seen:
                if queue != queues[seq]:
                    self.wrong.append(f"a tab shows {queue} at {seq}; the log has {queues[seq]}")
        try:
            check_log(self.records, settled=not self.wrong)
            for tab in tabs:
                check_client(epoch, self.records, tab.client.frames, complete=not self.wrong)
        except AssertionError as error:
            self.wrong.append(str(error))

    def report(self) -> str:
        return "\n".join(
            [*self.wrong[:5], *(f"{one.seq} {one.data.decode()[:250]}" for one in self.records)]
        )


def _mistaken(records: Sequence[Record], got: Got) -> Iterator[str]:
    bodies = [decode_record(record.data) for record in records]
    delivered = {
        (body.run, body.event.message_id)
        for body in bodies
        if isinstance(body.event, e.MessageSteered) and body.event.outcome == "delivered"
    }
    for one, count in Counter(got).items():
        if one not in delivered or count > 1:
            yield f"{one} was given to its agent {count} times, delivered: {one in delivered}"


def _queues(records: Sequence[Record]) -> list[list[tuple[str, Any]]]:
    """The queue after each event, also before the first."""
    outline = Outline()
    found = [queue_of(outline)]
    for record in records:
        body = decode_record(record.data)
        outline.apply(body.event, body.run)
        found.append(queue_of(outline))
    return found


@pytest.fixture(scope="module")
def schedules(soak: float) -> list[Schedule]:
    logging.getLogger("agentws").setLevel(logging.CRITICAL + 1)
    played = []
    try:
        for seed in range(max(1, int(SCHEDULES * soak))):
            random.seed(seed)
            one = Schedule(seed)
            virtual_run(one.play())
            played.append(one)
    finally:
        logging.getLogger("agentws").setLevel(logging.NOTSET)
    return played


def test_no_send_is_lost_or_doubled_and_every_steer_has_one_outcome(
    schedules: list[Schedule],
) -> None:
    bad = [(seed, one) for seed, one in enumerate(schedules) if one.wrong]
    assert not bad, f"{len(bad)} of {len(schedules)}; seed {bad[0][0]}:\n{bad[0][1].report()}"


def test_the_schedules_cover_every_outcome(schedules: list[Schedule], soak: float) -> None:
    outcomes: Counter[tuple[str, str | None]] = Counter()
    codes: Counter[tuple[str, str]] = Counter()
    kinds: Counter[str] = Counter()
    for one in schedules:
        codes += one.codes
        for record in one.records:
            event = decode_record(record.data).event
            kinds[str(event.__struct_config__.tag)] += 1
            if isinstance(event, e.MessageSteered):
                outcomes[event.outcome, event.reason] += 1
    expected = {("delivered", None)} | {
        ("undelivered", reason)
        for reason in ("no_run", "finished", "failed", "cancelled", "interrupted")
    }
    assert soak < 1.0 or outcomes.keys() == expected, (outcomes, kinds)
    answered = {"send", "edit_queued", "promote", "withdraw", "cancel"}
    assert soak < 1.0 or {type for type, code in codes if code == "accepted"} == answered, codes
