"""Each race, one by one: a command is decided, the log grows, and then it is appended.

Two nodes with a handle each on one SQLite file. The append of one of them is held after it was
decided, before it reaches the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette

from agentws import mount_agent_gateway
from agentws.backends.local import LocalBus
from agentws.bus import Bus
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.testing.agents import Gate, Script, Step
from agentws.testing.connect import Client, Frame, connect, running
from agentws.testing.faults import LossyBus
from agentws.testing.laws import moments, violations
from agentws.testing.oracle import check_client, check_log, read_log
from tests.limits import limits

from .inline import InlineSQLite
from .stores import Held

SESSION = "a-session-of-two-commands"
MAX_QUEUED = 2


class Race:
    """Two nodes, with a client each; the appends of the first can be held."""

    def __init__(
        self, store: Held, clients: Sequence[Client], witness: InlineSQLite, *, delay: float
    ) -> None:
        self.store = store
        self._delay = delay
        self.here, self.there = clients
        self._witness = witness
        self._number = 0

    async def ask(self, client: Client, type: str, **members: Any) -> Frame:
        """A command and its reply."""
        self._number += 1
        return await client.ask({"type": type, "id": f"x{self._number}", **members})

    async def overtaken(self, type: str, asking: Any, *others: Any) -> Any:
        """The result of ``asking``, whose append of a ``type`` is held until ``others`` end."""
        self.store.hold(type)
        task = asyncio.ensure_future(asking)
        await self.store.held()
        for other in others:
            await other
        self.store.let_go()
        return await task

    async def until_open(self, run: str | None, *, queue: int = 0) -> None:
        """Returns when the run for that message (or none) is active, with that many queued."""
        async with asyncio.timeout(10):
            while True:
                now = moments((await read_log(self._witness, SESSION))[1])[-1]
                if now.message == run and len(now.queue) == queue:
                    return
                await asyncio.sleep(0.01)

    async def log(self) -> list[dict[str, Any]]:
        """The log once everything in it has ended, checked against the laws."""
        async with asyncio.timeout(60):
            while True:
                epoch, records = await read_log(self._witness, SESSION)
                if moments(records)[-1].settled:
                    break
                await asyncio.sleep(0.1)
        assert violations(records, max_queued=MAX_QUEUED) == []
        check_log(records)
        await asyncio.sleep(self._delay)
        for client in (self.here, self.there):
            client.take_waiting()
            check_client(epoch, records, client.frames, complete=True)
        return [msgspec.json.decode(record.data)["event"] for record in records]

    async def ends(self) -> list[tuple[str, str]]:
        """The message and the outcome of each run."""
        runs: dict[str, str] = {}
        found = []
        for event in await self.log():
            if event["type"] == "RUN_STARTED":
                runs[event["runId"]] = ",".join(one["id"] for one in event["input"]["messages"])
            elif event["type"] == "RUN_FINISHED":
                found.append((runs[event["runId"]], event["outcome"]["type"]))
        return found

    async def kinds(self) -> list[str]:
        return [event["type"] for event in await self.log()]


@asynccontextmanager
async def race(path: Path, agent: Script, *, lossy: bool = False) -> AsyncIterator[Race]:
    """The first node holds the session's lease, so it runs every message.

    ``lossy``: the bus loses every ring, so the nodes only poll the log, every five seconds.
    """
    bus: Bus = LossyBus(LocalBus(), drop=1.0) if lossy else LocalBus()
    few = limits(max_queued=MAX_QUEUED, idle_poll_interval=5.0 if lossy else 0.05)
    witness = InlineSQLite(path / "log.db")
    stores = [Held(InlineSQLite(path / "log.db")) for _ in range(2)]
    async with AsyncExitStack() as stack:
        await witness.open()
        stack.push_async_callback(witness.close)
        clients = []
        for store in stores:
            app = Starlette()
            mount_agent_gateway(app, agent, store=store, bus=bus, limits=few)
            await stack.enter_async_context(running(app, within=500.0))
            client = connect(app, f"/ws/chat?session={SESSION}")
            clients.append(await stack.enter_async_context(client))
            await clients[-1].until("welcome")
        one = Race(stores[0], clients, witness, delay=10.0 if lossy else 0.5)
        await one.here.say("quick", "m0")
        await one.here.answer()
        if not lossy:
            await one.there.answer()
        yield one


def script(gate: Gate, second: Gate | None = None) -> Script:
    question = m.Interrupt("q1", "approval", message="May I?")
    named: dict[str, list[Step]] = {
        "wait": ["one ", gate, "two"],
        "wait too": ["one ", second or gate, "two"],
        "ask": [e.RunFinished("", "", outcome=m.InterruptOutcome([question]))],
    }
    return Script("fine", named=named)


def code(reply: Frame) -> str:
    return str(reply.get("code", reply["type"]))


async def occupied(gate: Gate, one: Race) -> None:
    """The run of ``m1`` is active, and ``m2`` from the other node is queued behind it."""
    await one.here.say("wait", "m1")
    await gate.reached()
    await one.there.say("wait too", "m2")
    await one.until_open("m1", queue=1)


async def opened(gate: Gate, one: Race, run: str | None = None, *, queue: int = 0) -> None:
    """Lets the agent continue at ``gate``; returns when the end of its run is in the log."""
    gate.open()
    await one.until_open(run, queue=queue)


# A stop


@pytest.mark.parametrize("target", ["run", "message", None])
async def test_a_cancel_that_races_with_the_end_of_its_run_has_no_effect(
    tmp_path: Path, target: str | None
) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate)) as one:
        await one.here.say("wait", "m1")
        run = (await one.here.until("RUN_STARTED"))["run"]
        await gate.reached()
        named = {} if target is None else {target: run if target == "run" else "m1"}
        stop = one.ask(one.here, "cancel", **named)
        reply = await one.overtaken("run.cancelling", stop, opened(gate, one))
        assert code(reply) == "accepted"
        assert "run.cancelling" not in await one.kinds()
        assert await one.ends() == [("m0", "success"), ("m1", "success")]


@pytest.mark.parametrize("target", ["run", "message", None])
async def test_a_late_cancel_never_stops_the_next_run(tmp_path: Path, target: str | None) -> None:
    gate, second = Gate(), Gate()
    async with race(tmp_path, script(gate, second)) as one:
        await one.here.say("wait", "m1")
        run = (await one.here.until("RUN_STARTED"))["run"]
        await gate.reached()
        await one.there.say("wait too", "m2")
        await one.until_open("m1", queue=1)
        named = {} if target is None else {target: run if target == "run" else "m1"}
        stop = one.ask(one.here, "cancel", **named)
        reply = await one.overtaken("run.cancelling", stop, opened(gate, one, "m2"))
        assert code(reply) == "accepted"
        await opened(second, one)
        assert await one.ends() == [(f"m{number}", "success") for number in range(3)]


async def test_a_cancel_that_waits_for_its_turn_never_stops_the_next_run(tmp_path: Path) -> None:
    """Another command of its node is in progress: it cancels the run that was active before."""
    gate, second = Gate(), Gate()
    async with race(tmp_path, script(gate, second)) as one:
        await occupied(gate, one)
        async with connect(one.here.app, f"/ws/chat?session={SESSION}") as beside:
            await beside.until("welcome")
            one.store.hold("message.accepted")
            sending = asyncio.ensure_future(beside.say("quick", "m3"))
            await one.store.held()
            stop = asyncio.ensure_future(one.ask(one.here, "cancel"))
            await opened(gate, one, "m2")
            one.store.let_go()
            assert code(await stop) == code(await sending) == "accepted"
        await opened(second, one)
        assert await one.ends() == [(f"m{number}", "success") for number in range(4)]


async def test_two_cancels_from_two_nodes_have_one_effect(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        await one.here.say("wait", "m1")
        await one.until_open("m1")
        await one.there.until("TEXT_MESSAGE_CONTENT")
        stop = one.ask(one.here, "cancel")
        # The second one takes effect, so that the run has ended when the first is appended.
        reply = await one.overtaken(
            "run.cancelling", stop, one.ask(one.there, "cancel"), one.until_open(None)
        )
        assert code(reply) == "accepted"
        assert (await one.kinds()).count("run.cancelling") == 1
        assert await one.ends() == [("m0", "success"), ("m1", "cancelled")]


async def test_a_cancel_of_a_queued_message_that_races_with_its_run_stops_it(
    tmp_path: Path,
) -> None:
    """The message should be withdrawn; its run has begun meanwhile, so the run is cancelled."""
    gate, second = Gate(), Gate()
    async with race(tmp_path, script(gate, second)) as one:
        await occupied(gate, one)
        stop = one.ask(one.here, "cancel", message="m2")
        reply = await one.overtaken("message.withdrawn", stop, opened(gate, one, "m2"))
        assert code(reply) == "accepted"
        assert await one.ends() == [("m0", "success"), ("m1", "success"), ("m2", "cancelled")]
        assert "message.withdrawn" not in await one.kinds()


async def test_a_cancel_of_a_message_that_races_with_the_start_of_its_run_stops_it(
    tmp_path: Path,
) -> None:
    async with race(tmp_path, script(Gate())) as one:
        sending = one.here.say("wait", "m1")
        await one.overtaken("RUN_STARTED", sending, one.ask(one.there, "cancel", message="m1"))
        kinds = await one.kinds()
        assert ("message.withdrawn" in kinds) != ("run.cancelling" in kinds)
        assert ("m1", "success") not in await one.ends()


# A withdrawal


async def test_a_withdrawal_that_loses_the_race_with_its_run_is_not_found(tmp_path: Path) -> None:
    gate, second = Gate(), Gate()
    async with race(tmp_path, script(gate, second)) as one:
        await occupied(gate, one)
        taken_back = one.ask(one.here, "withdraw", message="m2")
        reply = await one.overtaken("message.withdrawn", taken_back, opened(gate, one, "m2"))
        assert (code(reply), reply["retryable"]) == ("not_found", False)
        await opened(second, one)
        assert await one.ends() == [(f"m{number}", "success") for number in range(3)]
        assert "message.withdrawn" not in await one.kinds()


async def test_a_run_that_loses_the_race_with_a_withdrawal_does_not_begin(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        sending = one.here.say("quick", "m1")
        taken_back = one.ask(one.there, "withdraw", message="m1")
        accepted = await one.overtaken("RUN_STARTED", sending, taken_back)
        assert code(accepted) == "accepted"
        assert await one.ends() == [("m0", "success")]
        assert (await one.kinds()).count("message.withdrawn") == 1


async def test_the_next_message_runs_instead_of_a_withdrawn_one(tmp_path: Path) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate)) as one:
        await one.here.say("wait", "m1")
        await gate.reached()
        for id in ("m2", "m3"):
            await one.there.say("quick", id)
        await one.until_open("m1", queue=2)
        one.store.hold("RUN_STARTED")
        gate.open()
        await one.store.held()
        assert code(await one.ask(one.there, "withdraw", message="m2")) == "accepted"
        one.store.let_go()
        assert await one.ends() == [(id, "success") for id in ("m0", "m1", "m3")]


async def test_the_second_of_two_withdrawals_from_two_nodes_is_not_found(tmp_path: Path) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate)) as one:
        await one.here.say("wait", "m1")
        await one.here.say("quick", "m2")
        await one.there.until(lambda frame: "m2" in str(frame))
        first = one.ask(one.here, "withdraw", message="m2")
        second = asyncio.ensure_future(one.ask(one.there, "withdraw", message="m2"))
        reply = await one.overtaken("message.withdrawn", first, second)
        assert code(await second) == "accepted"
        assert code(reply) == "not_found"
        gate.open()
        assert (await one.kinds()).count("message.withdrawn") == 1


# The start of a run


async def test_an_interrupting_message_that_races_with_the_start_of_a_run_goes_first(
    tmp_path: Path,
) -> None:
    """It is appended first: the decided run has not begun, so there is none to cancel."""
    async with race(tmp_path, script(Gate())) as one:
        first = one.here.say("quick", "m1")
        other = one.there.say("quick", "m2", overlap="interrupt")
        await one.overtaken("RUN_STARTED", first, other)
        assert await one.ends() == [(id, "success") for id in ("m0", "m2", "m1")]


async def test_a_run_begins_although_another_message_races_with_its_start(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        first = one.here.say("quick", "m1")
        await one.overtaken("RUN_STARTED", first, one.there.say("quick", "m2"))
        assert await one.ends() == [(id, "success") for id in ("m0", "m1", "m2")]


# A message


@pytest.mark.parametrize("overlap", ["queue", "reject", "interrupt"])
async def test_reject_is_exact_when_another_node_accepts(tmp_path: Path, overlap: str) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate)) as one:
        rejecting = one.here.say("quick", "m1", overlap="reject")
        other = one.there.say("wait", "m2", overlap=overlap)
        reply = await one.overtaken("message.accepted", rejecting, other)
        assert (code(reply), reply["retryable"]) == ("run_active", True)
        gate.open()
        assert await one.ends() == [("m0", "success"), ("m2", "success")]


async def test_the_limit_of_the_queue_holds_across_nodes(tmp_path: Path) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate)) as one:
        await one.here.say("wait", "m1")
        await one.here.say("quick", "m2")
        await one.until_open("m1", queue=1)
        await one.there.until(lambda frame: "m2" in str(frame))
        last = one.here.say("quick", "m3")
        reply = await one.overtaken("message.accepted", last, one.there.say("quick", "m4"))
        assert (code(reply), reply["retryable"]) == ("queue_full", True)
        gate.open()
        assert await one.ends() == [(id, "success") for id in ("m0", "m1", "m2", "m4")]


async def test_two_messages_that_race_are_both_accepted(tmp_path: Path) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate)) as one:
        await one.here.say("wait", "m1")
        await one.until_open("m1")
        await one.there.until("TEXT_MESSAGE_CONTENT")
        reply = await one.overtaken(
            "message.accepted", one.here.say("quick", "m2"), one.there.say("quick", "m3")
        )
        assert code(reply) == "accepted"
        gate.open()
        assert await one.ends() == [(id, "success") for id in ("m0", "m1", "m3", "m2")]


async def test_a_resend_through_another_node_is_a_duplicate(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        again = asyncio.ensure_future(one.there.say("quick", "m1"))
        reply = await one.overtaken("message.accepted", one.here.say("quick", "m1"), again)
        first = await again
        assert (code(first), first.get("duplicate")) == ("accepted", None)
        assert (code(reply), reply.get("duplicate")) == ("accepted", True)
        assert reply["position"] == first["position"]
        assert await one.ends() == [("m0", "success"), ("m1", "success")]


async def test_another_body_under_the_same_id_through_another_node_is_a_conflict(
    tmp_path: Path,
) -> None:
    async with race(tmp_path, script(Gate())) as one:
        sending = one.here.say("quick", "m1")
        reply = await one.overtaken("message.accepted", sending, one.there.say("other", "m1"))
        assert (code(reply), reply["retryable"]) == ("idempotency_conflict", False)
        assert await one.ends() == [("m0", "success"), ("m1", "success")]


# Clearing


async def test_a_clear_that_loses_the_race_with_a_run_is_refused(tmp_path: Path) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate)) as one:
        clear = one.ask(one.here, "command", name="clear")
        other = one.there.say("wait", "m1")
        reply = await one.overtaken("history.cleared", clear, other)
        assert (code(reply), reply["retryable"]) == ("run_active", True)
        gate.open()
        assert "history.cleared" not in await one.kinds()


async def test_a_clear_that_races_with_a_whole_run_comes_after_it(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        clear = one.ask(one.here, "command", name="clear")
        sending, over = one.there.say("quick", "m1"), one.until_open(None)
        reply = await one.overtaken("history.cleared", clear, sending, asyncio.sleep(1.0), over)
        assert code(reply) == "accepted"
        assert (await one.kinds())[-1] == "history.cleared"


async def test_a_message_that_races_with_a_clear_is_answered(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        sending = one.here.say("quick", "m1")
        clear = one.ask(one.there, "command", name="clear")
        assert code(await one.overtaken("message.accepted", sending, clear)) == "accepted"
        assert await one.ends() == [("m0", "success"), ("m1", "success")]


async def test_a_run_that_resumes_with_answers_and_a_clear_exclude_each_other(
    tmp_path: Path,
) -> None:
    """Either the answers are cleared and no run resumes, or it does and nothing is cleared."""
    async with race(tmp_path, script(Gate())) as one:
        await one.here.say("ask", "m1")
        await one.there.until(lambda frame: "q1" in str(frame))
        answer = one.ask(one.here, "answer", interrupt="q1", payload="yes")
        clear = one.ask(one.there, "command", name="clear")
        await one.overtaken("RUN_STARTED", answer, clear)
        kinds = await one.kinds()
        assert kinds.count("RUN_STARTED") == (2 if "history.cleared" in kinds else 3)


# Answers


async def test_the_first_of_two_answers_from_two_nodes_wins(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        await one.here.say("ask", "m1")
        await one.there.until(lambda frame: "q1" in str(frame))
        mine = one.ask(one.here, "answer", interrupt="q1", payload="mine")
        theirs = asyncio.ensure_future(
            one.ask(one.there, "answer", interrupt="q1", payload="theirs")
        )
        reply = await one.overtaken("interrupt.answered", mine, theirs)
        assert code(await theirs) == "accepted"
        assert (code(reply), reply["retryable"]) == ("already_answered", False)
        answers = [one for one in await one.log() if one["type"] == "interrupt.answered"]
        assert [one["payload"] for one in answers] == ["theirs"]


async def test_the_same_answer_from_two_nodes_is_deduplicated(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        await one.here.say("ask", "m1")
        await one.there.until(lambda frame: "q1" in str(frame))
        mine = one.ask(one.here, "answer", interrupt="q1", payload="yes")
        theirs = one.ask(one.there, "answer", interrupt="q1", payload="yes")
        reply = await one.overtaken("interrupt.answered", mine, theirs)
        assert (code(reply), reply.get("duplicate")) == ("accepted", True)
        assert (await one.kinds()).count("interrupt.answered") == 1


async def test_an_answer_that_loses_the_race_with_a_clear_is_not_found(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        await one.here.say("ask", "m1")
        await one.there.until(lambda frame: "q1" in str(frame))
        answer = one.ask(one.here, "answer", interrupt="q1", payload="yes")
        clear = one.ask(one.there, "command", name="clear")
        reply = await one.overtaken("interrupt.answered", answer, clear)
        assert (code(reply), reply["retryable"]) == ("not_found", False)
        assert "interrupt.answered" not in await one.kinds()


# Nodes that have not read the newest events


async def test_a_cancel_on_a_node_that_has_not_read_the_run_stops_it(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate()), lossy=True) as one:
        await one.here.say("wait", "m1")
        await one.until_open("m1")
        assert code(await one.ask(one.there, "cancel", message="m1")) == "accepted"
        assert await one.ends() == [("m0", "success"), ("m1", "cancelled")]


async def test_a_withdrawal_on_a_node_that_has_not_read_the_message_works(tmp_path: Path) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate), lossy=True) as one:
        await one.here.say("wait", "m1")
        await one.here.say("quick", "m2")
        assert code(await one.ask(one.there, "withdraw", message="m2")) == "accepted"
        gate.open()
        assert await one.ends() == [("m0", "success"), ("m1", "success")]


async def test_reject_is_exact_on_a_node_that_has_not_read_the_end_of_the_run(
    tmp_path: Path,
) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate), lossy=True) as one:
        await one.here.say("wait", "m1")
        # After the refusal this node knows the run; the ring about its end is lost.
        assert code(await one.there.say("quick", "m2", overlap="reject")) == "run_active"
        await opened(gate, one)
        assert code(await one.there.say("quick", "m3", overlap="reject")) == "accepted"
        assert await one.ends() == [("m0", "success"), ("m1", "success"), ("m3", "success")]
