"""The shared state when clients change it too: what is accepted, what a running agent sees."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from agentws import Agent, AgentError, RunContext, StateChange
from agentws.agents.sharing import AcceptsState
from agentws.errors import BadRequest
from agentws.protocol import events as e
from agentws.protocol.codec import Record, decode_record
from agentws.protocol.fold import Fold
from agentws.protocol.jsonpatch import apply_patch
from agentws.testing.connect import Client, Frame, connect, kind
from agentws.testing.faults import FaultyStore, SlowStore
from agentws.testing.oracle import check_client, read_log

from .harness import talk
from .nodes import Node, memory_store, nodes

SESSION = "ses_0123456789abcdef"


class Open(Agent):
    """Accepts every change, unless a subclass says otherwise.

    A message sets the state; ``wait`` waits until ``go`` is in it.
    """

    accepts_state: bool | AcceptsState = True

    async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
        if ctx.text != "wait":
            ctx.set_state({"text": ctx.text})
            yield "set"
            return
        ctx.set_state({"waiting": True})
        async for state in ctx.state_changes():
            if state.get("go"):
                break
        yield f"went with {state}"


def change(*patch: dict[str, Any], id: str = "s1") -> Frame:
    return {"type": "state", "id": id, "patch": list(patch)}


def add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


def expecting(path: str, value: Any) -> dict[str, Any]:
    return {"op": "test", "path": path, "value": value}


async def shared(client: Client, session: str) -> Any:
    """The state that a client of ``client``'s app is given when it opens the session now."""
    async with connect(client.app, f"/ws/chat?session={session}") as other:
        await other.settle()
        found = [one["snapshot"] for one in other.events() if one["type"] == "STATE_SNAPSHOT"]
        return found[-1] if found else None


async def test_a_change_by_a_client_is_an_event_that_every_tab_sees() -> None:
    async with talk(Open) as one, connect(one.client.app, f"/ws/chat?session={one.session}") as tab:
        reply = await one.client.ask(change(add("/a", 1)))
        assert reply["type"] == "accepted"
        for client in (one.client, tab):
            event = (await client.until("state.changed"))["event"]
            assert event["patch"] == [add("/a", 1)] and "by" not in event
        assert (await one.check()).state == {"a": 1}
        assert await shared(one.client, one.session) == {"a": 1}


async def test_the_next_run_begins_with_the_changed_state() -> None:
    seen: list[Any] = []

    class Reader(Open):
        async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
            seen.append(ctx.state)
            yield "read"

    async with talk(Reader) as one:
        await one.client.ask(change(add("/a", [1])))
        await one.client.say("go", "m1")
        await one.terminal()
    assert seen == [{"a": [1]}]


CONFLICTS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a test that fails": (
        [add("/n", 2), expecting("/text", "other")],
        "Operation 2 of the patch, test /text, does not apply: the value there is another one.",
    ),
    "a path that does not exist": (
        [{"op": "remove", "path": "/nowhere"}],
        "Operation 1 of the patch, remove /nowhere, does not apply: there is nothing at this path.",
    ),
    "no parent": (
        [add("/a/b", 1)],
        "Operation 1 of the patch, add /a/b, does not apply: there is nothing at this path.",
    ),
}


@pytest.mark.parametrize("case", CONFLICTS)
async def test_a_patch_that_does_not_apply_is_refused_and_changes_nothing(case: str) -> None:
    patch, message = CONFLICTS[case]
    async with talk(Open) as one:
        await one.client.say("here", "m1")
        await one.terminal()
        reply = await one.client.ask(change(*patch))
        assert (reply["code"], reply["message"]) == ("state_conflict", message)
        assert reply["retryable"] is False and "read it" in reply["expected"]
        assert (await one.check()).state == {"text": "here"}
        assert "state.changed" not in await one.kinds()


MALFORMED: dict[str, list[Any]] = {
    "no operation": [{"path": "/a"}],
    "an unknown operation": [{"op": "increment", "path": "/a"}],
    "an operation that is no text": [{"op": ["add"], "path": "/a", "value": 1}],
    "no path": [{"op": "remove"}],
    "a path without a slash": [add("a", 1)],
    "a wrong escape": [add("/~2", 1)],
    "no value": [{"op": "add", "path": "/a"}],
    "no from": [{"op": "move", "path": "/a"}],
    "not an object": ["add"],
    "nested too deeply": [
        add("/a", [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]])
    ],
    "U+0000": [add("/a", "\0")],
    "no operations at all": [],
    "too many operations": [add("/a", 1)] * 257,
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_a_patch_that_is_none_gets_a_clear_error(case: str) -> None:
    async with talk(Open) as one:
        reply = await one.client.ask({"type": "state", "id": "s1", "patch": MALFORMED[case]})
        assert reply["code"] == "bad_request"
        await one.client.ask({"type": "ping", "id": "p"})
        assert await one.kinds() == []


async def test_the_size_of_the_state_is_bounded() -> None:
    async with talk(Open, max_event_size=10_000) as one:
        assert (await one.client.ask(change(add("/a", "x" * 6000))))["type"] == "accepted"
        reply = await one.client.ask(change(add("/b", "x" * 6000), id="s2"))
        assert reply["code"] == "too_large" and "the shared state would have" in reply["message"]
        copies = [{"op": "copy", "from": "/a", "path": f"/{n}"} for n in range(200)]
        assert (await one.client.ask(change(*copies, id="s3")))["code"] == "too_large"
        one_event = change(*[add("/c", "x" * 200)] * 60, id="s4")
        assert (await one.client.ask(one_event))["code"] == "too_large"
        assert (await one.client.ask(change(add("/a", ""), id="s5")))["type"] == "accepted"
        await one.client.settle()
        assert (await one.check()).state == {"a": ""}


# Who decides


async def test_an_agent_that_says_nothing_accepts_no_change() -> None:
    class Closed(Open):
        accepts_state = False

    async def function(ctx: RunContext) -> Any:
        yield "never called"

    for agent in (Closed, function):
        async with talk(agent) as one:
            assert (await one.client.ask(change(add("/a", 1))))["code"] == "not_supported"
            assert await one.kinds() == []


async def test_an_agent_decides_on_the_change_and_who_asks_for_it() -> None:
    asked: list[StateChange] = []

    class Careful(Open):
        def accepts_state(self, change: StateChange) -> bool:
            asked.append(change)
            if change.after.get("amount", 0) > 100:
                raise AgentError("At most 100, please.")
            change.before["text"] = change.after["text"] = "in place"
            return "secret" not in change.after

    async with talk(Careful) as one:
        await one.client.ask(change(add("/amount", 50)))
        assert asked[-1].before == {"text": "in place"} and asked[-1].identity is None
        refused = await one.client.ask(change(add("/amount", 500), id="s2"))
        assert (refused["code"], refused["message"]) == ("agent_error", "At most 100, please.")
        refused = await one.client.ask(change(add("/secret", 1), id="s3"))
        assert refused["code"] == "forbidden"
        assert (await one.check()).state == {"amount": 50}


def raising(change: StateChange) -> bool:
    raise KeyError("internals")


def exiting(change: StateChange) -> bool:
    raise SystemExit(1)


async def waiting(change: StateChange) -> bool:
    return True


@pytest.mark.parametrize("rule", [raising, exiting, waiting, lambda change: 1, "yes", None])
async def test_a_mistake_in_the_rule_of_an_agent_is_its_error(rule: Any) -> None:
    class Broken(Open):
        def __init__(self) -> None:
            self.accepts_state = rule

    async with talk(Broken) as one:
        reply = await one.client.ask(change(add("/a", 1)))
        assert (reply["code"], reply["message"]) == ("agent_error", "The agent failed.")
        await one.client.say("still alive", "m1")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"


async def test_an_agent_that_can_not_be_made_in_time_is_an_error() -> None:
    async def never() -> Agent:
        await asyncio.sleep(100)
        return Open()

    async with talk(never, command_timeout=0.05) as one:
        reply = await one.client.ask(change(add("/a", 1)))
        assert reply["code"] == "timed_out" and "the changes that it accepts" in reply["message"]


# Once


async def test_a_change_that_is_sent_again_is_a_duplicate_even_if_it_applies_no_more() -> None:
    async with talk(Open) as one:
        await one.client.ask(change(add("/n", 1)))
        patch = change(expecting("/n", 1), add("/n", 2), id="s2")
        first = await one.client.ask(patch)
        again = await one.client.ask(patch)
        assert again == {**first, "duplicate": True}
        other = await one.client.ask(change(add("/n", 3), id="s2"))
        assert other["code"] == "idempotency_conflict"
        assert (await one.check()).state == {"n": 2}
        assert (await one.kinds()).count("state.changed") == 2


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_store_that_fails_once_loses_and_doubles_no_change(after: bool) -> None:
    store = FaultyStore(memory_store())
    async with talk(Open, store=store) as one:
        frame = change(expecting("", {}), add("/a", 1))
        store.fail("append", times=1, after=after)
        assert (await one.client.ask(frame))["code"] == "unavailable"
        assert (await one.client.ask(frame))["type"] == "accepted"
        assert (await one.kinds()) == ["state.changed"]
        await one.client.settle()
        assert (await one.check()).state == {"a": 1}


# A running agent


async def test_a_running_agent_is_told_of_changes() -> None:
    async with talk(Open) as one:
        await one.client.say("wait", "m1")
        await one.client.until("STATE_SNAPSHOT")
        await one.client.ask(change(add("/go", False)))
        await one.client.ask(change(add("/go", True), id="s2"))
        assert await one.client.answer() == "went with {'waiting': True, 'go': True}"
        await one.check()


async def test_a_running_agent_on_another_node_is_told_of_changes() -> None:
    async with nodes(Open, lossy=1.0) as (one, two):
        async with connect(one.app, f"/ws/chat?session={SESSION}") as client:
            await client.say("wait", "m1")
            await client.until("STATE_SNAPSHOT")
            async with connect(two.app, f"/ws/chat?session={SESSION}") as other:
                reply = await other.ask(change(expecting("/waiting", True), add("/go", 1)))
                assert reply["type"] == "accepted"
            assert await client.answer() == "went with {'waiting': True, 'go': 1}"


async def test_what_a_run_has_written_stays_on_top_of_a_change() -> None:
    """Also while it is not in the log yet: the change comes first there, the delta after it."""
    seen: list[Any] = []
    go = asyncio.Event()

    class Writer(Open):
        async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
            ctx.set_state({"mine": 0, "list": []})
            await go.wait()
            ctx.patch_state([add("/mine", 1)])
            seen.append(ctx.state)
            yield e.StateDelta([add("/list/-", "a")])
            seen.append(ctx.state)

    async with talk(Writer) as one:
        await one.client.say("go", "m1")
        await one.client.until("STATE_SNAPSHOT")
        await one.client.ask(change(add("/yours", 1), add("/mine", 7)))
        go.set()
        await one.terminal()
        assert (await one.check()).state == {"mine": 1, "yours": 1, "list": ["a"]}
    assert seen == [
        {"mine": 1, "yours": 1, "list": []},
        {"mine": 1, "yours": 1, "list": ["a"]},
    ]


async def test_a_change_may_come_before_what_the_run_has_written_and_not_appended() -> None:
    seen: list[Any] = []
    written, go = asyncio.Event(), asyncio.Event()

    class Writer(Open):
        async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
            ctx.set_state({"list": []})
            await go.wait()
            for name in ("a", "b"):
                ctx.patch_state([add("/list/-", name)])
                await asyncio.sleep(0.01)
            written.set()
            async for state in ctx.state_changes():
                seen.append(state)
                break
            yield e.StateDelta([add("/list/-", "c")])
            seen.append(ctx.state)

    store = memory_store()
    async with nodes(Writer, store=store) as (one, two):
        slow = one.store.store = SlowStore(store, slow_on="append")
        async with connect(one.app, f"/ws/chat?session={SESSION}") as client:
            await client.say("go", "m1")
            await client.until("STATE_SNAPSHOT")
            slow.pause()
            go.set()
            await written.wait()
            async with connect(two.app, f"/ws/chat?session={SESSION}") as other:
                assert (await other.ask(change(add("/list/0", "first"))))["type"] == "accepted"
                await asyncio.sleep(0.1)
                slow.resume()
                await client.until("RUN_FINISHED")
                assert folded(client) == {"list": ["first", "a", "b", "c"]}
    assert seen == [{"list": ["first", "a", "b"]}, {"list": ["first", "a", "b", "c"]}]


async def test_the_delta_of_an_agent_that_no_longer_applies_changes_nothing() -> None:
    removed, written = asyncio.Event(), asyncio.Event()

    class Writer(Open):
        async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
            ctx.set_state({"draft": {"text": ""}})
            await removed.wait()
            yield e.StateDelta([add("/draft/text", "late")])
            with pytest.raises(BadRequest, match="Operation 1 of the patch, add /draft/text"):
                ctx.patch_state([add("/draft/text", "late")])
            written.set()

    async with talk(Writer) as one:
        await one.client.say("go", "m1")
        await one.client.until("STATE_SNAPSHOT")
        await one.client.ask(change({"op": "remove", "path": "/draft"}))
        removed.set()
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"
        assert written.is_set() and (await one.check()).state == {}


@pytest.mark.parametrize("late", [False, True])
async def test_the_iterator_of_changes_ends_with_the_run(late: bool) -> None:
    ended, over = asyncio.Event(), asyncio.Event()

    class Leaking(Open):
        async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
            async def watch() -> None:
                if late:
                    await over.wait()
                async for _ in ctx.state_changes():
                    pass
                ended.set()

            self.task = asyncio.create_task(watch())
            await asyncio.sleep(0)
            yield "done"

    async with talk(Leaking) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        over.set()
        await asyncio.wait_for(ended.wait(), 1)


async def test_a_value_that_json_writes_otherwise_is_seen_as_clients_see_it() -> None:
    seen: list[Any] = []

    class Odd(Open):
        async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
            ctx.set_state({"pair": (1, 2)})
            ctx.patch_state([add("/pair/-", 3)])
            seen.append(ctx.state)
            yield "done"

    async with talk(Odd) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        assert seen == [{"pair": [1, 2, 3]}] == [(await one.check()).state]


# Where it is kept


async def test_a_tab_that_opens_during_a_run_shows_what_clients_changed_in_it() -> None:
    async with talk(Open) as one:
        await one.client.ask(change(add("/before", 1)))
        await one.client.say("wait", "m1")
        await one.client.until("STATE_SNAPSHOT")
        await one.client.ask(change(add("/during", 1), id="s2"))
        async with connect(one.client.app, f"/ws/chat?session={one.session}") as tab:
            await tab.settle()
            snapshot = next(each for each in tab.events() if each["type"] == "STATE_SNAPSHOT")
            assert snapshot["snapshot"] == {"before": 1}
            assert folded(tab) == {"waiting": True, "during": 1}
        await one.client.ask(change(add("/go", 1), id="s3"))
        await one.terminal()


async def test_a_change_without_a_run_survives_a_cold_start() -> None:
    store = memory_store()
    async with talk(Open, store=store, session_idle=1.0) as one:
        await one.client.say("here", "m1")
        await one.terminal()
        await asyncio.sleep(10)
        await one.client.ask(change(add("/n", 1)))
        session, app = one.session, one.client.app
        await one.client.aclose()
        await asyncio.sleep(30)
        assert not list(one.gateway.sessions)
        async with connect(app, f"/ws/chat?session={session}") as late:
            await late.settle()
            assert folded(late) == {"text": "here", "n": 1}


async def test_many_changes_without_a_run_are_not_applied_again_at_every_cold_start() -> None:
    store = memory_store()
    async with talk(Open, store=store) as one:
        for number in range(300):
            await one.client.ask(change(add("/n", number), id=f"s{number}"))
        await asyncio.sleep(30)
        head = await store.head(one.session)
        assert head.position.seq - head.settled.seq < 100
        await one.client.settle()
        assert (await one.check()).state == {"n": 299}


# Any interleaving


class Busy(Agent):
    """Changes the state at random, and checks that what it sees is what the log will say."""

    accepts_state = True

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
        for number in range(self.rng.randrange(1, 12)):
            choice = self.rng.random()
            if ctx.state is None or choice < 0.1:
                ctx.set_state({"agent": number, "list": []})
            elif choice < 0.5:
                yield e.StateDelta(random_patch(self.rng, "agent"))
            elif choice < 0.7:
                yield "text "
            await asyncio.sleep(self.rng.choice([0, 0.001, 0.01]))
        await asyncio.sleep(0.05)
        # All that it has written is in the log by now.
        assert ctx.state == ctx.output.writer.session.outline.state  # type: ignore[attr-defined]


def random_patch(rng: random.Random, who: str) -> list[dict[str, Any]]:
    """A patch that applies to some states, and not to others."""
    operations = [
        add(f"/{who}", rng.randrange(100)),
        add("/list/-", who),
        add("/list", []),
        {"op": "remove", "path": "/list/0"},
        {"op": "move", "from": f"/{who}", "path": "/moved"},
        {"op": "replace", "path": "", "value": {"list": [who]}},
        {"op": "copy", "from": "/list", "path": "/copy"},
        expecting("/list/0", who),
    ]
    return rng.sample(operations, rng.randrange(1, 3))


async def patching(client: Client, rng: random.Random, name: str) -> int:
    """Sends changes, each until the answer is final; returns how many were accepted."""
    made = 0
    for number in range(15):
        if rng.random() < 0.2:
            await client.say("go", f"m-{name}-{number}")
        frame = change(*random_patch(rng, name), id=f"{name}{number}")
        reply = await client.ask(frame)
        while reply.get("retryable"):
            reply = await client.ask(frame)
        assert reply["type"] == "accepted" or reply["code"] == "state_conflict", reply
        made += reply["type"] == "accepted"
        await asyncio.sleep(rng.choice([0, 0.001, 0.01]))
    return made


async def freezing(node: Node, rng: random.Random) -> int:
    """Lets a node lose its lease in some of the cases: another one ends its run."""
    if rng.random() < 0.5:
        await asyncio.sleep(rng.random() * 0.1)
        node.freeze()
        await asyncio.sleep(6)
        node.thaw()
    return 0


def folded(client: Client) -> Any:
    """The state that a tab shows: the fold of the events that it has received."""
    state: list[Frame] = [one for one in client.frames if "event" in one]
    fold = Fold()
    for frame in state:
        event = frame["event"]
        match kind(frame):
            case "STATE_SNAPSHOT":
                fold.apply(e.StateSnapshot(event["snapshot"]), frame.get("run"))
            case "STATE_DELTA":
                fold.apply(e.StateDelta(event["delta"]), frame.get("run"))
            case "state.changed":
                fold.apply(e.StateChanged(event["patch"]))
    return fold.state


@pytest.mark.parametrize("seed", range(25))
async def test_every_tab_shows_the_state_of_the_log(seed: int) -> None:
    rng = random.Random(seed)
    lossy = rng.choice([None, 0.5, 1.0])
    async with nodes(lambda: Busy(rng), lossy=lossy) as made:
        tabs = [await opened(node) for node in made for _ in range(2)]
        accepted = await asyncio.gather(
            *(patching(tab, rng, name) for tab, name in zip(tabs, "abcd", strict=True)),
            freezing(rng.choice(made), rng),
        )
        late = [await opened(node) for node in made]
        epoch, records = await idle(made)
        state = Fold().apply_all(records).state
        assert changes_that_applied(records) == sum(accepted)
        for tab in [*tabs, *late]:
            await until_position(tab, f"{epoch}.{records[-1].seq}.{records[-1].tag}")
            # The frames of a snapshot share its position.
            await tab.settle()
            check_client(epoch, records, tab.frames, complete=False)
            assert folded(tab) == state
            await tab.aclose()


def changes_that_applied(records: Sequence[Record]) -> int:
    """How many changes of clients are in the log. Raises BadRequest if one does not apply there."""
    fold, count = Fold(), 0
    for record in records:
        body = decode_record(record.data)
        if isinstance(body.event, e.StateChanged):
            apply_patch({} if fold.state is None else fold.state, body.event.patch)
            count += 1
        fold.apply(body.event, body.run)
    return count


async def opened(node: Node) -> Client:
    client = Client(node.app, f"/ws/chat?session={SESSION}")
    await client.open()
    await client.until("welcome")
    return client


async def until_position(client: Client, position: str) -> None:
    while client.position != position:
        await client.receive()


async def idle(made: list[Node]) -> Any:
    """The log once no run is active or queued."""
    while True:
        epoch, records = await read_log(made[0].store, SESSION)
        if Fold().apply_all(records).outline.settled:
            return epoch, records
        await asyncio.sleep(0.05)
