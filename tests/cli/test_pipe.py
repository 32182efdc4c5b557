"""``agentws chat`` in a pipe writes the complete answer once, even if the connection is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from agentws.cli.terminal import Terminal
from agentws.client import Chat
from agentws.protocol import events as e
from agentws.protocol import messages as m
from tests.client.fakes import FakeServer, come_back, go_away, until

Story = Callable[[FakeServer, Chat], Awaitable[None]]


async def piped(server: FakeServer, text: str, story: Story | None = None) -> int:
    """Sends ``text`` as from a pipe while ``story`` runs; returns the exit code."""

    async def lines() -> AsyncIterator[str]:
        yield text

    chat = server.chat()
    async with asyncio.timeout(10):
        talking = asyncio.create_task(Terminal(chat, lines(), interactive=False).run())
        if story is not None:
            server.answering = False
            await until(lambda: server.known)
            await story(server, chat)
        return await talking


def append(server: FakeServer, events: Sequence[e.AnyEvent], *, end: e.AnyEvent) -> None:
    """The rest of a run, while the client is disconnected and its position expires."""
    run = f"run_of_{next(iter(server.known))}"
    server.append(*events, run=run)
    server.append(end, run=run)
    server.trimmed = server.head.seq


def well(server: FakeServer) -> e.RunFinished:
    return e.RunFinished(server.session, "run")


def begun(server: FakeServer) -> list[e.AnyEvent]:
    """Starts the run that answers and sends its first word; returns the rest of it."""
    run = server.start(next(iter(server.known)), "a b c")
    events = list(server.script("a b c"))
    server.append(*events[:2], run=run)
    return events[2:]


@pytest.mark.parametrize("seen", [False, True])
async def test_an_answer_that_ends_while_disconnected_is_complete(
    capsys: pytest.CaptureFixture[str], seen: bool
) -> None:
    async def story(server: FakeServer, chat: Chat) -> None:
        rest: list[e.AnyEvent] = []
        if seen:
            rest = begun(server)
            await until(lambda: chat.position == str(server.head))
        await go_away(server, chat)
        append(server, rest or begun(server), end=well(server))
        come_back(server)

    assert await piped(FakeServer(), "a b c", story) == 0
    out, err = capsys.readouterr()
    assert out == "a b c \n"
    assert [line[:18] for line in err.splitlines()] == ["-- connection lost", "-- connected again"]


async def test_a_replayed_answer_is_written_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def story(server: FakeServer, chat: Chat) -> None:
        rest = begun(server)
        await until(lambda: chat.position == str(server.head))
        await go_away(server, chat)
        run = f"run_of_{next(iter(server.known))}"
        server.append(rest[0], run=run)
        server.trimmed = server.head.seq
        come_back(server)
        await until(lambda: chat.position == str(server.head))
        append(server, rest[1:], end=well(server))

    assert await piped(FakeServer(), "a b c", story) == 0
    assert capsys.readouterr().out == "a b c \n"


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (e.RunError("It broke.", "agent_error"), "-- error: It broke."),
        (e.RunFinished("", "", outcome=m.CancelledOutcome()), "-- stopped"),
    ],
)
async def test_a_run_that_fails_while_disconnected_is_reported(
    capsys: pytest.CaptureFixture[str], end: e.AnyEvent, said: str
) -> None:
    async def story(server: FakeServer, chat: Chat) -> None:
        await go_away(server, chat)
        append(server, begun(server)[:1], end=end)
        come_back(server)

    assert await piped(FakeServer(), "a b c", story) == 1
    out, err = capsys.readouterr()
    assert out == "a b \n"
    assert err.splitlines()[-1] == said and err.count(said) == 1


def text(id: str, *deltas: str) -> list[e.AnyEvent]:
    contents = [e.TextMessageContent(message_id=id, delta=delta) for delta in deltas]
    return [e.TextMessageStart(id, role="assistant"), *contents, e.TextMessageEnd(id)]


async def test_messages_are_separated_by_a_blank_line_and_remarks_are_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call: list[e.AnyEvent] = [e.ToolCallStart("call", "look_up"), e.ToolCallEnd("call")]
    first, second = text("one", "first ", "line"), text("two", "second\n")
    server = FakeServer(lambda _: [*first[:2], *call, *first[2:], *text("empty"), *second])
    assert await piped(server, "x") == 0
    assert capsys.readouterr() == ("first line\n\nsecond\n", "-- calls look_up\n")


async def test_messages_that_an_agent_writes_in_parallel_are_written_one_after_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, two = text("one", "a ", "b "), text("two", "x ", "y ")
    mixed = [event for pair in zip(one, two, strict=True) for event in pair]
    server = FakeServer(lambda _: [*text("zero", "0"), *mixed, *text("last", "1")])
    assert await piped(server, "x") == 0
    assert capsys.readouterr().out == "0\n\na b \n\nx y \n\n1\n"


async def test_an_answer_that_differs_from_what_was_written_is_written_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = FakeServer(lambda _: [*text("one", "a"), *text("two", "b"), *text("one", "c")])
    assert await piped(server, "x") == 0
    assert capsys.readouterr().out == "a\n\nb\nac\n\nb\n"


async def test_a_command_is_answered_once(capsys: pytest.CaptureFixture[str]) -> None:
    from agentws.protocol import frames as f

    server = FakeServer()
    server.reply = lambda frame: [
        f.Accepted(reply=frame["id"], position=str(server.head), durability="disk"),
        f.Notice(content="one\ntwo", level="info", reply=frame["id"]),
    ]
    assert await piped(server, "/help") == 0
    assert capsys.readouterr() == ("one\ntwo\n", "")


async def test_an_answer_that_is_attempted_again_is_written_whole_at_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def story(server: FakeServer, chat: Chat) -> None:
        begun(server)
        await until(lambda: chat.position == str(server.head))
        asked = next(iter(server.known))
        told = {"agentws": {"retryable": True, "nextAttempt": 2}}
        lost = e.RunError("Try again.", "interrupted", metadata=told)
        server.append(lost, run=f"run_of_{asked}")
        given = m.RunAgentInput(server.session, "again", [m.UserMessage(asked, "a b c")])
        started = e.RunStarted(server.session, "again", input=given)
        server.append(started, *text("other", "from the ", "beginning"), run="again")
        server.append(well(server), run="again")

    assert await piped(FakeServer(), "a b c", story) == 0
    # The first text cannot be taken back, if it was written before it was replaced.
    assert capsys.readouterr().out in ("a \nfrom the beginning\n", "from the beginning\n")
