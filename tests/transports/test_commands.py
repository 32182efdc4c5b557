"""Commands over a connection: idempotent by id, and no other frame waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from agentws import Agent, MemoryStore, RunContext
from agentws.agents.commands import Command, CommandContext
from agentws.errors import AgentError, Forbidden, Unavailable
from agentws.runs.builtin import MAX_REPLY
from agentws.testing.agents import Gate
from agentws.testing.connect import Client, kind
from agentws.testing.faults import FaultyStore, SlowStore
from agentws.transports.command_queue import MAX_WAITING
from agentws.transports.connection import PAUSE_READING_AT

from .conftest import Make


class Clerk:
    """Makes agents that stream words without end, and have the commands that tests need."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.refunds: list[str] = []

    def __call__(self) -> Agent:
        return Talker(self)


class Talker(Agent):
    def __init__(self, clerk: Clerk) -> None:
        self._clerk = clerk

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        yield "word "
        while ctx.text == "go on":
            await asyncio.sleep(0.1)
            yield "word "

    def commands(self) -> Sequence[Command]:
        made = [self.refund, self.wait, self.fail, self.leave, self.guard, self.deny, self.look]
        made += [self.odd, self.print]
        return [Command(one.__name__, "Does that", one) for one in made]

    async def refund(self, ctx: CommandContext, args: str) -> str:
        self._clerk.refunds.append(args)
        return f"refunded {args}"

    async def wait(self, ctx: CommandContext, args: str) -> str:
        await self._clerk.gate.wait()
        return "waited"

    async def fail(self, ctx: CommandContext, args: str) -> str:
        raise {"timeout": TimeoutError, "refused": ConnectionRefusedError, "value": ValueError}[
            args
        ]("the database is at 10.0.0.7")

    async def leave(self, ctx: CommandContext, args: str) -> str:
        kinds = {
            "exit": SystemExit,
            "key": KeyboardInterrupt,
            "own": asyncio.CancelledError,
            "end": GeneratorExit,
        }
        errors = [kinds[name]() for name in args.split()]
        raise errors[0] if len(errors) == 1 else group(*errors)

    async def guard(self, ctx: CommandContext, args: str) -> str:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._clerk.gate.wait())
        return "guarded"

    async def deny(self, ctx: CommandContext, args: str) -> str:
        error = Forbidden("Only on Mondays.")
        raise ExceptionGroup("in a task group", [error]) if args == "together" else error

    async def look(self, ctx: CommandContext, args: str) -> str:
        raise Unavailable("The store is away.")

    async def odd(self, ctx: CommandContext, args: str) -> str:
        return {"none": None, "surrogate": "\ud800"}[args]  # type: ignore[return-value]

    async def print(self, ctx: CommandContext, args: str) -> str:
        return "x" * 1_000_000


async def run_command(client: Client, id: str, text: str) -> list[str]:
    """Sends a command as a message; returns how it was accepted, and its output."""
    accepted = await client.ask({"type": "send", "id": id, "content": text})
    if accepted["type"] == "error":
        return [accepted["code"], accepted["message"]]
    notice = await client.until(lambda frame: frame.get("reply") == id)
    return ["duplicate" if accepted.get("duplicate") else "accepted", notice["content"]]


@pytest.mark.parametrize("how", ["timeout", "refused", "value"])
async def test_a_failed_command_is_not_retryable(make: Make, how: str) -> None:
    async with make(Clerk()) as world:
        client = await world.client()
        error = await client.ask({"type": "send", "id": "c1", "content": f"/fail {how}"})
        assert (error["code"], error["retryable"], error["reply"]) == ("agent_error", False, "c1")
        assert "10.0.0.7" not in str(error)
        assert await run_command(client, "c2", "/ping") == ["accepted", "pong"]


@pytest.mark.parametrize("how", ["exit", "key", "own", "end", "exit own", "own own", "key exit"])
async def test_a_command_that_raises_an_exit_does_not_stop_the_server(make: Make, how: str) -> None:
    async with make(Clerk()) as world:
        client = await world.client()
        error = await client.ask({"type": "send", "id": "c1", "content": f"/leave {how}"})
        assert (error["code"], error["message"]) == ("agent_error", "The command failed.")
        assert (error["retryable"], error["reply"]) == (False, "c1")
        assert await run_command(client, "c2", "/refund 1") == ["accepted", "refunded 1"]


def group(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("in a task group", errors)


CLOSED = AgentError("Closed on Sundays.")
SECRET = ValueError("the database is at 10.0.0.7")
UNMADE: dict[str, tuple[BaseException, str]] = {
    "a sentence": (CLOSED, "Closed on Sundays."),
    "a group of sentences": (group(group(CLOSED), Forbidden()), "Closed on Sundays."),
    "another error": (SECRET, "The agent failed."),
    "half a character": (AgentError("Closed\ud83d."), "Closed?."),
    "a mixed group": (group(CLOSED, SECRET), "The agent failed."),
    "a cancellation": (asyncio.CancelledError(), "The agent failed."),
    "a group of cancellations": (group(asyncio.CancelledError()), "The agent failed."),
    "an exit": (SystemExit(3), "The agent failed."),
    "the end of a generator": (GeneratorExit(), "The agent failed."),
}


@pytest.mark.parametrize(("raised", "run_command"), UNMADE.values(), ids=UNMADE)
async def test_a_factory_that_fails_gives_a_command_the_same_error_as_a_run(
    make: Make, raised: BaseException, run_command: str
) -> None:
    async def factory() -> Agent:
        raise raised

    async with make(factory) as world:
        client = await world.client()
        error = await client.ask({"type": "send", "id": "c1", "content": "/ping"})
        assert (error["type"], error["code"], error["message"]) == (
            "error",
            "agent_error",
            run_command,
        )
        assert (await client.ask({"type": "ping", "id": "p1"}))["type"] == "pong"


async def test_a_command_that_hangs_in_a_task_group_times_out(make: Make) -> None:
    async with make(Clerk(), command_timeout=3.0) as world:
        client = await world.client()
        await client.send({"type": "send", "id": "c1", "content": "/guard"})
        error = await client.until(lambda frame: frame.get("reply") == "c1", within=4)
        assert "too long" in error["message"]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("deny", "forbidden"),
        ("deny together", "forbidden"),
        ("look", "agent_error"),
        ("odd none", "agent_error"),
        ("odd surrogate", "agent_error"),
    ],
)
async def test_a_command_that_raises_or_returns_no_text_is_an_error(
    make: Make, command: str, code: str
) -> None:
    async with make(Clerk()) as world:
        client = await world.client()
        error = await client.ask({"type": "send", "id": "c1", "content": f"/{command}"})
        assert (error["type"], error["code"], error["retryable"]) == ("error", code, False)


async def test_a_command_runs_once_for_its_id(make: Make) -> None:
    clerk = Clerk()
    async with make(clerk) as world:
        client = await world.client()
        assert await run_command(client, "c1", "/refund 42") == ["accepted", "refunded 42"]
        for _ in range(2):
            other = await world.join(client)
            answer, notice = await run_command(other, "c1", "/refund 42")
            assert answer == "duplicate" and "not run again" in notice
        frame = {"type": "command", "id": "c1", "name": "refund", "args": "42"}
        assert (await client.ask(frame))["duplicate"] is True
        assert "not run again" in (await client.receive())["content"]
        assert (await run_command(client, "c1", "/refund 43"))[0] == "idempotency_conflict"
        assert (await run_command(client, "c1", "hello"))[0] == "idempotency_conflict"
        assert await run_command(client, "c2", "/refund 42") == ["accepted", "refunded 42"]
        assert clerk.refunds == ["42", "42"]
        await world.check(client)


async def test_a_repeated_clear_does_not_clear_newer_messages(make: Make) -> None:
    async with make(Clerk()) as world:
        client = await world.client()
        await client.say("one", "m1")
        await client.until("RUN_FINISHED")
        assert (await run_command(client, "c1", "/clear"))[0] == "accepted"
        await client.say("two", "m2")
        await client.until("RUN_FINISHED")
        assert (await run_command(client, "c1", "/clear"))[0] == "duplicate"
        assert await run_command(client, "c2", "/history") == ["accepted", "You: two\nAgent: word "]


async def test_a_refused_clear_can_be_sent_again_with_its_id(make: Make) -> None:
    async with make(Clerk()) as world:
        client = await world.client()
        await client.say("go on", "m1")
        await client.until("TEXT_MESSAGE_CONTENT")
        error = await client.ask({"type": "send", "id": "c1", "content": "/clear"})
        assert (error["code"], error["retryable"]) == ("run_active", True)
        await client.ask({"type": "cancel", "id": "x"})
        await client.until("RUN_FINISHED")
        assert (await run_command(client, "c1", "/clear"))[0] == "accepted"


async def test_a_built_in_command_without_effects_is_answered_every_time(make: Make) -> None:
    async with make(Clerk()) as world:
        client = await world.client()
        for text in ("/ping", "/help", "/history", "/whoami"):
            first, again = [await run_command(client, "c1", text) for _ in range(2)]
            assert first == again and first[0] == "accepted"


async def test_other_frames_do_not_wait_for_a_slow_command(make: Make) -> None:
    """Events are sent and frames of the client are handled meanwhile."""
    clerk = Clerk()
    async with make(clerk) as world:
        client = await world.client()
        await client.say("go on", "m1")
        await client.until("TEXT_MESSAGE_CONTENT")
        await client.send({"type": "send", "id": "c1", "content": "/wait"})
        await clerk.gate.reached()
        for _ in range(3):
            await client.until("TEXT_MESSAGE_CONTENT", within=1)
        assert (await client.ask({"type": "ping", "id": "p"}))["type"] == "pong"
        assert (await client.ask({"type": "cancel", "id": "x"}))["type"] == "accepted"
        await client.until("RUN_FINISHED", within=1)
        clerk.gate.open()
        notice = await client.until(lambda frame: kind(frame) == "notice")
        assert (notice["reply"], notice["content"]) == ("c1", "waited")
        assert await run_command(client, "c2", "/refund 1") == ["accepted", "refunded 1"]


async def test_a_command_that_hangs_times_out(make: Make) -> None:
    async with make(Clerk(), command_timeout=3.0) as world:
        client = await world.client()
        await client.send({"type": "send", "id": "c1", "content": "/wait"})
        error = await client.until(lambda frame: frame.get("reply") == "c1", within=4)
        assert (error["code"], error["retryable"]) == ("agent_error", False)
        assert "too long" in error["message"]
        assert await run_command(client, "c2", "/refund 1") == ["accepted", "refunded 1"]


async def test_a_client_that_disconnects_during_a_command_is_noticed_and_the_command_ends(
    make: Make,
) -> None:
    clerk = Clerk()
    async with make(clerk) as world:
        client = await world.client()
        await client.until("welcome")
        await client.send({"type": "send", "id": "c1", "content": "/wait"})
        await clerk.gate.reached()
        client.drop()
        await client.line.wait_closed(within=1)
        clerk.gate.open()
        await asyncio.sleep(1)
        assert (await run_command(await world.back(client), "c1", "/wait"))[0] == "duplicate"


async def test_a_simple_client_gets_the_answer_of_a_command(make: Make) -> None:
    async with make(Clerk()) as world:
        client = await world.client(native=False)
        for _ in range(2):
            await client.send("/refund 42")
            assert (await client.receive())["content"] == "refunded 42"
        await client.send("/fail value")
        assert (await client.receive())["metadata"]["code"] == "agent_error"


async def test_events_are_sent_while_a_command_waits_for_a_slow_store(make: Make) -> None:
    """Writes are corked while a frame is handled, but only for a few milliseconds."""
    store = SlowStore(MemoryStore(), slow_on="read_back")
    async with make(Clerk(), store=store) as world:
        client = await world.client()
        await client.say("go on", "m1")
        await client.until("TEXT_MESSAGE_CONTENT")
        store.pause()
        await client.send({"type": "command", "id": "c1", "name": "history"})
        for _ in range(3):
            await client.until("TEXT_MESSAGE_CONTENT", within=1)
        store.resume()
        await client.until(lambda frame: frame.get("reply") == "c1")


async def test_a_long_answer_of_a_command_is_cut(make: Make) -> None:
    async with make(Clerk()) as world:
        client = await world.client()
        _, content = await run_command(client, "c1", "/print")
        assert len(content) == MAX_REPLY and content.endswith("\u2026")


async def test_no_more_messages_are_read_from_a_client_that_does_not_read_its_replies(
    make: Make,
) -> None:
    """The memory that replies take is bounded, whatever the client sends."""
    store = FaultyStore(MemoryStore())
    async with make(Clerk(), store=store) as world:
        client = await world.client()
        await client.say("x" * 50_000, "m1")
        await client.until("RUN_FINISHED")
        client.pause()
        before = store.calls["read_back"]
        for number in range(50):
            await client.send({"type": "command", "id": str(number), "name": "history"})
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        assert store.calls["read_back"] - before < 4 + PAUSE_READING_AT // MAX_REPLY
        client.resume()
        await client.until(lambda frame: frame.get("reply") == "49" and kind(frame) == "notice")


async def test_commands_sent_at_once_are_answered_in_order(make: Make) -> None:
    clerk = Clerk()
    async with make(clerk) as world:
        client = await world.client()
        await client.send({"type": "command", "id": "first", "name": "wait"})
        await clerk.gate.reached()
        for number in range(MAX_WAITING + 2):
            frame = {"type": "command", "id": str(number), "name": "refund", "args": str(number)}
            await client.send(frame)
        for number in range(MAX_WAITING, MAX_WAITING + 2):
            error = await client.until(lambda frame: kind(frame) == "error")
            assert (error["code"], error["reply"]) == ("too_many", str(number))
        clerk.gate.open()
        await client.until(lambda frame: frame.get("reply") == str(MAX_WAITING - 1))
        notices = [frame["reply"] for frame in client.frames if kind(frame) == "notice"]
        assert notices == ["first", *map(str, range(len(notices) - 1))]
        await client.settle()
        assert clerk.refunds == [str(number) for number in range(MAX_WAITING)]


def test_an_agents_error_is_not_retryable() -> None:
    assert not AgentError.retryable
