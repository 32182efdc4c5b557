"""``ctx.call``: what a tool's call writes, approvals, failures, and stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from agentws import AgentError, RunContext, tool
from agentws.errors import ToolDenied, ToolError
from agentws.testing.connect import connect, kind

from .asking import answer, events_of, questions
from .harness import Talk, talk
from .nodes import nodes


class Receipt(msgspec.Struct):
    order: str
    amount: float


class Desk:
    """Tools that count their calls."""

    def __init__(self) -> None:
        self.done: list[str] = []

    @tool
    async def refund(self, order: str, amount: float) -> Receipt:
        """Refunds an order."""
        self.done.append(f"{order} {amount:g}")
        return Receipt(order, amount)

    @tool(name="pay", approve=lambda args: args.amount > 100)
    async def pay(self, amount: float) -> str:
        self.done.append(f"{amount:g}")
        return f"paid {amount:g}"


async def results(one: Talk) -> list[tuple[str, Any]]:
    """The status and content of each result in the log."""
    found = events_of(one.client, "TOOL_CALL_RESULT")
    return [(each["metadata"]["agentws"]["status"], each["content"]) for each in found]


async def test_a_call_and_its_result_are_events() -> None:
    desk = Desk()

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield "One moment. "
        receipt = await ctx.call(desk.refund, order="o1", amount=5)
        yield f"Done: {receipt}"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        kinds = await one.kinds()
        first = kinds.index("TOOL_CALL_START")
        assert kinds[first : first + 4] == [
            "TOOL_CALL_START",
            "TOOL_CALL_ARGS",
            "TOOL_CALL_END",
            "TOOL_CALL_RESULT",
        ]
        (start,) = events_of(one.client, "TOOL_CALL_START")
        assert start["toolCallName"] == "refund"
        (result,) = events_of(one.client, "TOOL_CALL_RESULT")
        assert result["toolCallId"] == start["toolCallId"]
        assert result["content"] == '{"order":"o1","amount":5.0}'
        told = result["metadata"]["agentws"]
        assert (told["status"], told["kind"]) == ("done", "json") and told["duration"] >= 0
        assert await one.texts() == ["One moment. ", None, "Done: Receipt(order='o1', amount=5.0)"]
        await one.check()


async def test_calls_may_run_in_parallel() -> None:
    @tool
    async def wait(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        begun = asyncio.get_running_loop().time()
        waited = await asyncio.gather(*(ctx.call(wait, seconds=one) for one in (3, 1, 2)))
        assert asyncio.get_running_loop().time() - begun < 4
        yield f"{waited}"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        assert [content for _, content in await results(one)] == ["1.0", "2.0", "3.0"]
        await one.check()


async def test_progress_belongs_to_the_call_that_it_is_of() -> None:
    @tool
    async def inner(ctx: RunContext) -> int:
        ctx.progress("inner")
        return 1

    @tool
    async def outer(ctx: RunContext) -> int:
        ctx.progress("outer", done=1, total=2)
        return await ctx.call(inner)

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        ctx.progress("run")
        number = await ctx.call(outer)
        yield f"{number}"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        ids = {
            each["toolCallName"]: each["toolCallId"]
            for each in events_of(one.client, "TOOL_CALL_START")
        }
        assert [each["value"] for each in events_of(one.client, "CUSTOM")] == [
            {"message": "run"},
            {"message": "outer", "done": 1, "total": 2, "toolCallId": ids["outer"]},
            {"message": "inner", "toolCallId": ids["inner"]},
        ]
        await one.check()


@pytest.mark.parametrize("wrong", [{}, {"done": float("nan")}, {"total": float("inf")}])
async def test_progress_must_show_something(wrong: dict[str, Any]) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        with pytest.raises(ValueError, match="expected"):
            ctx.progress(**wrong)
        yield "fine"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "fine"


@tool
async def fails() -> None:
    raise RuntimeError("the password is swordfish")


@tool
async def refuses() -> None:
    raise AgentError("There is no such order.")


@tool(timeout=1)
async def hangs() -> None:
    await asyncio.get_running_loop().create_future()


@tool
async def own_timeout() -> None:
    raise TimeoutError("slow")


@tool
async def unspeakable() -> object:
    return object()


@tool
async def enormous() -> str:
    return "x" * 50_000_000


@tool
async def enormous_json() -> dict[str, str]:
    return {"a": "x" * 50_000_000}


@tool
async def exact(number: int) -> int:
    return number


@pytest.mark.parametrize(
    ("failing", "arguments", "says"),
    [
        (fails, {}, "The tool failed."),
        (refuses, {}, "There is no such order."),
        (hangs, {}, "hangs took longer than 1 seconds."),
        (own_timeout, {}, "The tool failed."),
        (unspeakable, {}, "The result of unspeakable can't be encoded."),
        (enormous, {}, "The result of enormous has 50000000 bytes, which is too large."),
        (enormous_json, {}, "The result of enormous_json has 50000008 bytes, which is too large."),
        (exact, {"number": "x"}, "The arguments of exact are not valid: Expected `int`, got `str`"),
        (exact, {"number": 1, "more": 1}, "The arguments of exact are not valid: Object contains"),
    ],
)
async def test_a_tool_that_fails_is_an_error_that_the_agent_can_handle(
    failing: Any, arguments: dict[str, Any], says: str
) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        try:
            await ctx.call(failing, **arguments)
        except ToolError as error:
            yield f"I see: {error.message}"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        ((status, content),) = await results(one)
        assert status == "error" and content.startswith(says)
        assert str((await one.texts())[-1]).startswith(f"I see: {says}")
        await one.check()


async def test_a_failure_that_is_not_handled_ends_the_run() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        await ctx.call(fails)
        yield "never"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        ended = (await one.terminal())["event"]
        assert (ended["code"], ended["message"]) == ("tool_failed", "The tool failed.")
        assert "swordfish" not in str(one.client.frames)


async def test_arguments_that_are_no_json_are_refused() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        with pytest.raises(ToolError, match="can't be encoded as JSON"):
            await ctx.call(exact, number=object())
        yield "fine"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "fine"


async def test_a_stop_cancels_the_tool_and_closes_the_call() -> None:
    ended: list[str] = []

    @tool
    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("finally")

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        await asyncio.gather(ctx.call(work), ctx.call(work))
        yield "never"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.client.until(lambda frame: kind(frame) == "TOOL_CALL_END")
        await one.client.ask({"type": "cancel", "id": "c"})
        assert (await one.terminal())["event"]["outcome"]["type"] == "cancelled"
        assert await results(one) == [("stopped", "The call was stopped.")] * 2
        assert ended == ["finally"] * 2
        await one.check()


async def test_a_call_that_the_agent_cancels_is_stopped() -> None:
    @tool
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await ctx.call(work)
        yield "on"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        assert await results(one) == [("stopped", "The call was stopped.")]
        await one.check()


async def test_a_call_that_outlives_its_agent_is_stopped() -> None:
    tasks: list[asyncio.Task[Any]] = []

    @tool
    async def work() -> None:
        await asyncio.sleep(5)

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        tasks.append(asyncio.ensure_future(ctx.call(work)))
        await asyncio.sleep(0.1)
        yield "bye"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        assert await results(one) == [("stopped", "The call was stopped.")]
        await asyncio.wait(tasks)
        await one.check()


async def test_what_is_no_tool_is_refused() -> None:
    async def plain() -> None: ...

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        with pytest.raises(TypeError, match="expected a function with @tool"):
            await ctx.call(plain)  # type: ignore[arg-type]
        yield "fine"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "fine"


async def test_a_call_of_a_node_that_died_is_stopped() -> None:
    @tool
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield "On it. "
        await ctx.call(work)

    async with nodes(agent) as (first, second), connect(first.app) as client:
        await client.say("go", "m1")
        await client.until(lambda frame: kind(frame) == "TOOL_CALL_END")
        first.freeze()
        await client.reconnect(second.app)
        ended = (await client.until("RUN_ERROR"))["event"]
        assert ended["code"] == "interrupted"
        (result,) = events_of(client, "TOOL_CALL_RESULT")
        assert result["metadata"]["agentws"]["status"] == "stopped"


# Approvals


async def test_a_call_is_not_made_if_the_rule_for_its_approval_fails() -> None:
    done: list[float] = []

    @tool(approve=lambda args: args.amont > 100)
    async def give(amount: float) -> None:
        done.append(amount)

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        with pytest.raises(ToolError, match="The tool failed"):
            await ctx.call(give, amount=5)
        yield "fine"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        assert (await results(one), done) == ([("error", "The tool failed.")], [])


PARKS = pytest.mark.parametrize("park", [300.0, 0.05], ids=["in memory", "called again"])


def paying(desk: Desk, amount: float = 500) -> Any:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        await ctx.call(desk.refund, order="o1", amount=1)
        try:
            yield await ctx.call(desk.pay, amount=amount)
        except ToolDenied as error:
            yield f"Denied: {error.message}"

    return agent


async def approval(one: Talk) -> dict[str, Any]:
    (asked,) = await questions(one.client)
    await asyncio.sleep(1)
    assert asked["reason"] == "tool_call"
    return asked


@PARKS
async def test_a_call_waits_for_its_approval(park: float) -> None:
    desk = Desk()
    async with talk(paying(desk), park=park) as one:
        await one.client.say("go", "m1")
        asked = await approval(one)
        assert asked["message"] == 'Call pay with {"amount":500}?'
        assert set(asked["responseSchema"]["properties"]) == {"approved", "reason", "editedArgs"}
        assert desk.done == ["o1 1"]
        await one.client.ask(answer("a1", asked["id"], {"approved": True}))
        await one.terminal()
        assert desk.done == ["o1 1", "500"]
        assert await results(one) == [
            ("done", '{"order":"o1","amount":1.0}'),
            ("done", "paid 500"),
        ]
        starts = events_of(one.client, "TOOL_CALL_START")
        assert [each["toolCallName"] for each in starts] == ["refund", "pay"]
        assert asked["toolCallId"] == starts[1]["toolCallId"]
        assert (await one.texts())[-1] == "paid 500"
        await one.check()


@pytest.mark.parametrize("approves", [True, False])
async def test_an_answer_counts_though_the_tool_needs_no_approval_any_more(approves: bool) -> None:
    done: list[int] = []
    versions = [tool(name="pay", approve=True), tool(name="pay")]

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        async def pay(amount: int) -> str:
            done.append(amount)
            return "paid"

        try:
            yield await ctx.call(versions.pop(0)(pay), amount=500)
        except ToolDenied:
            yield "denied"

    async with talk(agent, park=0.05) as one:
        await one.client.say("go", "m1")
        asked = await approval(one)
        await one.client.ask(answer("a1", asked["id"], {"approved": approves}))
        assert await one.client.answer() == ("paid" if approves else "denied")
        assert done == ([500] if approves else [])
        await one.check()


@PARKS
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"payload": {"approved": False, "reason": "too much"}}, "The call was denied: too much"),
        ({"payload": {"approved": False}}, "The call was denied."),
        ({"status": "cancelled"}, "The call was denied."),
    ],
)
async def test_a_call_may_be_denied(park: float, given: dict[str, Any], says: str) -> None:
    desk = Desk()
    async with talk(paying(desk), park=park) as one:
        await one.client.say("go", "m1")
        asked = await approval(one)
        await one.client.ask({**answer("a1", asked["id"]), **given})
        await one.terminal()
        assert desk.done == ["o1 1"]
        assert (await results(one))[-1] == ("denied", says)
        assert (await one.texts())[-1] == f"Denied: {says}"
        await one.check()


@PARKS
async def test_a_call_may_be_approved_with_other_arguments(park: float) -> None:
    desk = Desk()
    async with talk(paying(desk), park=park) as one:
        await one.client.say("go", "m1")
        asked = await approval(one)
        wrong = {"approved": True, "editedArgs": {"amount": "x"}}
        await one.client.ask(answer("a1", asked["id"], wrong))
        asked = await approval(one)
        assert asked["message"].startswith("The arguments of pay are not valid: Expected `float`")
        right = {"approved": True, "editedArgs": {"amount": 200}}
        await one.client.ask(answer("a2", asked["id"], right))
        await one.terminal()
        assert desk.done == ["o1 1", "200"]
        result = events_of(one.client, "TOOL_CALL_RESULT")[-1]
        assert result["metadata"]["agentws"]["editedArgs"] == {"amount": 200}
        await one.check()


async def test_a_call_that_needs_no_approval_is_made_at_once() -> None:
    desk = Desk()
    async with talk(paying(desk, 5)) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        assert desk.done == ["o1 1", "5"]


@pytest.mark.parametrize("payload", [None, True, {}, {"approved": "yes"}, ["approved"]])
async def test_an_answer_must_approve_or_deny(payload: Any) -> None:
    async with talk(paying(Desk())) as one:
        await one.client.say("go", "m1")
        asked = await approval(one)
        refused = await one.client.ask(answer("a1", asked["id"], payload))
        assert refused["code"] == "bad_request" and "approved" in refused["expected"]


@PARKS
async def test_working_calls_finish_before_the_run_waits(park: float) -> None:
    desk = Desk()

    @tool
    async def slow() -> str:
        await asyncio.sleep(2)
        desk.done.append("slow")
        return "slow"

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        both = await asyncio.gather(ctx.call(desk.pay, amount=500), ctx.call(slow))
        yield f"{both}"

    async with talk(agent, park=park) as one:
        await one.client.say("go", "m1")
        asked = await approval(one)
        assert desk.done == ["slow"]
        await one.client.ask(answer("a1", asked["id"], {"approved": True}))
        await one.terminal()
        assert desk.done == ["slow", "500"]
        await one.check()


@PARKS
async def test_a_tool_may_ask_and_its_timeout_stands_still(park: float) -> None:
    @tool(timeout=2)
    async def careful(ctx: RunContext) -> str:
        await asyncio.sleep(1)
        said = await ctx.ask("Sure?")
        await asyncio.sleep(0.5)
        return f"careful: {said}"

    @tool(timeout=2)
    async def outer(ctx: RunContext) -> str:
        return await ctx.call(careful)

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield await ctx.call(outer)

    async with talk(agent, park=park) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(20)
        await one.client.ask(answer("a1", asked["id"], "yes"))
        await one.terminal()
        assert (await one.texts())[-1] == "careful: yes"
        await one.check()
