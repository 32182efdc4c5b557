"""The stage of random schedules: nodes, clients and a store, and what may happen to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

from starlette.applications import Starlette

from agentws import mount_agent_gateway
from agentws.agents.output import Output
from agentws.agents.run_context import RunContext
from agentws.backends.local import LocalBus
from agentws.bus import Bus
from agentws.limits import Limits
from agentws.protocol import events as e
from agentws.protocol.codec import Record
from agentws.protocol.fold import Fold
from agentws.store import Store
from agentws.testing.connect import Client, Closed, Frame, connect, kind, running
from agentws.testing.faults import FaultyStore, LossyBus, SlowStore
from agentws.testing.laws import violations
from agentws.testing.oracle import check_client, check_log, check_simple, read_log
from tests.limits import limits
from tests.runs.nodes import NodeStore

LIMITS = limits(
    gather=0.01,
    cancel_grace=0.2,
    lease_ttl=2.0,
    poll_interval=0.2,
    idle_poll_interval=0.4,
    drain_timeout=0.3,
    run_timeout=3.0,
    max_queued=4,
    tail_size=1500,
    session_idle=1.0,
    snapshot_messages=4,
)

SESSION = "a-session-of-many-schedules"

SAYS = ("words", "burst", "tools", "fail", "hang", "stubborn", "quiet")
"""What a message may ask the agent to do; see :func:`agent`."""


async def agent(ctx: RunContext) -> AsyncIterator[Output]:
    match ctx.text.split()[0]:
        case "words":
            for number in range(6):
                yield f"{number} "
                await asyncio.sleep(0.03)
        case "burst":
            for number in range(40):
                yield f"{number}, "
        case "tools":
            yield "look: "
            yield e.ToolCallStart(f"call_{ctx.run_id}", "look")
            for piece in ("{", '"a"', ":1}"):
                yield e.ToolCallArgs(tool_call_id=f"call_{ctx.run_id}", delta=piece)
                await asyncio.sleep(0.02)
            yield e.ToolCallEnd(f"call_{ctx.run_id}")
            yield e.ToolCallResult(f"res_{ctx.run_id}", f"call_{ctx.run_id}", "found")
            yield e.StateDelta([{"op": "add", "path": "/last", "value": ctx.run_id}])
            yield "done"
        case "fail":
            yield "partial"
            raise ValueError("as asked")
        case "hang":
            yield "waiting"
            await asyncio.sleep(1000)
        case "stubborn":
            yield "no "
            try:
                await asyncio.sleep(0.5)
            except asyncio.CancelledError:
                await asyncio.sleep(0.5)
            yield "really"
        case _:
            return


class Node:
    """One node: its app, and its view of the store, which can be slow, fail and be cut off."""

    def __init__(self, store: Store, *, bus: Bus, limits: Limits, shared: bool) -> None:
        self.store = store
        self.slow = SlowStore(store)
        self.faults = FaultyStore(self.slow)
        self.way = NodeStore(self.faults)
        self.app = Starlette()
        self._shared = shared
        self._running = AsyncExitStack()
        mount_agent_gateway(self.app, agent, store=self.way, bus=bus, limits=limits)

    @property
    def up(self) -> bool:
        return self.way.state == "up"

    async def start(self) -> None:
        await self._running.enter_async_context(running(self.app, within=500.0))

    async def stop(self, *, killed: bool = False) -> None:
        """``killed``: none of its later calls reaches the store."""
        if killed or not self.up:
            self.way.set("down")
        await self._running.aclose()
        if not self._shared:
            await self.store.close()


class Stage:
    """Nodes on one log, and four clients of one session; the last speaks the simple wire.

    ``make`` returns the store of each node, and the one of the stage: always the same object, or
    another one over the same file.
    """

    def __init__(
        self, make: Callable[[], Store], *, loss: float, seed: int, limits: Limits = LIMITS
    ) -> None:
        self._make = make
        self._store = make()
        self._limits = limits
        local = LocalBus()
        self._bus: Bus = LossyBus(local, drop=loss, seed=seed) if loss else local
        self._delay = 0.0
        self.nodes: list[Node] = []
        self.clients: list[Client] = []

    async def open(self) -> None:
        await self._store.open()
        for _ in range(2):
            await self.add_node()
        for number in range(4):
            url = f"/ws/chat?session={SESSION}"
            self.clients.append(Client(self.nodes[number % 2].app, url, native=number < 3))

    async def close(self) -> None:
        for client in self.clients:
            if client.lines:
                client.drop()
        for node in self.nodes:
            await node.stop()
        for client in self.clients:
            if client.lines:
                await client.line.wait_closed(within=500.0)
        await self._store.close()

    # What happens to nodes

    @property
    def up(self) -> list[Node]:
        return [node for node in self.nodes if node.up]

    async def add_node(self) -> None:
        self.nodes.append(await self._started())

    async def restart(self, number: int, *, killed: bool) -> None:
        """Replaces a node by a new process, with its own store object."""
        at = number % len(self.nodes)
        await self.nodes[at].stop(killed=killed)
        self.nodes[at] = await self._started()

    async def _started(self) -> Node:
        store = self._make()
        node = Node(store, bus=self._bus, limits=self._limits, shared=store is self._store)
        node.slow.delay = self._delay
        await node.start()
        return node

    def slow_down(self, seconds: float) -> None:
        self._delay = seconds
        for node in self.nodes:
            node.slow.delay = seconds

    def fail(self, call: str, *, times: int, after: bool) -> None:
        """The next ``times`` of these calls fail on each node."""
        for node in self.nodes:
            node.faults.fail(call, times=times, after=after)

    # What clients do

    async def connect(self, who: int, node: int) -> None:
        """Connects to a node that is up; a frozen one would only keep the client waiting."""
        up = self.up
        client = self.clients[who]
        self.read(who)
        await client.reconnect(up[node % len(up)].app)

    async def say(self, who: int, frame: Frame) -> None:
        client = self.clients[who]
        said: Frame | str | None = frame if client.native else _in_words(frame)
        try:
            if said is not None:
                await client.send(said)
        except (Closed, IndexError):
            return

    def read(self, who: int) -> None:
        """Reads all complete messages that have arrived."""
        client = self.clients[who]
        if client.lines:
            client.take_waiting()

    def branches(self) -> list[str]:
        """The branches that the clients have read of."""
        events = [event for client in self.clients[:3] for event in client.events()]
        branched = [event for event in events if event["type"] == "history.branched"]
        return list(dict.fromkeys(id for event in branched for id in event["branches"]))

    def drop(self, who: int) -> None:
        if self.clients[who].lines:
            self.clients[who].drop()

    # How it ends

    async def finish(self, *, step: float) -> None:
        """Heals all faults, and returns when nothing is open and every client has read to the end.

        A command of a dropped connection may still be appended later, so the log has to stay
        unchanged for a while.
        """
        self.slow_down(0.0)
        for node in self.nodes:
            node.faults.heal()
            node.way.set("up")
        for who in range(len(self.clients)):
            await self.connect(who, who)
        calm, before = 0, -1
        for _ in range(400):
            await asyncio.sleep(step)
            records = (await read_log(self._store, SESSION))[1]
            for who, client in enumerate(self.clients):
                client.resume()
                self.read(who)
                if client.closed is not None:
                    await self.connect(who, who)
            last = records[-1].seq if records else 0
            over = _settled(records) and all(_seen(client, last) for client in self.clients[:3])
            calm = calm + 1 if over and last == before else 0
            before = last
            if calm == 4:
                break
        else:
            raise AssertionError(f"this never ends: {self.clients}, log to {last}")

    async def check(self) -> None:
        epoch, records = await read_log(self._store, SESSION)
        accepted = {
            frame["reply"]
            for client in self.clients[:3]
            for frame in client.frames
            if frame.get("type") == "accepted" and frame.get("reply", "").startswith("m")
        }
        check_log(records, accepted=accepted)
        broken = violations(records, max_queued=self._limits.max_queued)
        assert not broken, broken
        check_simple(records, self.clients[3].frames)
        for client in self.clients[:3]:
            check_client(epoch, records, client.frames, complete=True)
            kinds = {kind(frame) for frame in client.frames}
            assert "welcome" in kinds
        for node in self.nodes:
            async with connect(node.app, f"/ws/chat?session={SESSION}") as fresh:
                await fresh.until("MESSAGES_SNAPSHOT", within=500.0)
                await fresh.settle()
                check_client(epoch, records, fresh.frames, complete=True)


def _in_words(frame: Frame) -> str | None:
    """The text for ``frame`` on the simple wire; ``None`` if it has none."""
    match frame["type"]:
        case "send":
            return str(frame["content"])
        case "command":
            return f"/{frame['name']}"
        case _:
            return None


def _seen(client: Client, last: int) -> bool:
    return not last or (client.position or "").split(".")[1:2] == [str(last)]


def _settled(records: list[Record]) -> bool:
    return Fold().apply_all(records).outline.is_settled()
