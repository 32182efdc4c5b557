"""``agentws chat`` with questions, tools, sources and files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentws.cli.asking import Questions, answer_to, shown
from agentws.cli.demo.talking import Trip
from agentws.cli.screen import Screen
from agentws.client import LogEvent
from agentws.protocol import events as e
from agentws.protocol.messages import CLIENT_TOOL, Interrupt, InterruptOutcome

from .conftest import Server, Terminal

Serve = Callable[..., Server]
Open = Callable[..., Terminal]
CTRL_D = "\x04"


def question(id: str = "q1", reason: str = "input_required", **members: Any) -> Interrupt:
    choices = members.pop("choices", None)
    told = {"agentws": {"step": "1", **({"choices": choices} if choices else {})}}
    return Interrupt(id, reason, "Well?", metadata=told, **members)


APPROVAL = question(reason="tool_call", response_schema={"type": "object"})
SIZES = question(reason="confirmation", choices=["small", "large"])
FORM = question(
    response_schema={
        "type": "object",
        "properties": {"city": {"type": "string"}, "room": {"enum": ["single", "double"]}},
    }
)


@pytest.mark.parametrize(
    ("asked", "line", "payload"),
    [
        (APPROVAL, "y", {"approved": True}),
        (APPROVAL, " Yes ", {"approved": True}),
        (APPROVAL, "n", {"approved": False}),
        (APPROVAL, "n it is too dear", {"approved": False, "reason": "it is too dear"}),
        (APPROVAL, "perhaps", None),
        (APPROVAL, "y but not today", None),
        (SIZES, "2", "large"),
        (SIZES, "Small", "small"),
        (SIZES, "3", None),
        (FORM, '{"city": "Oslo"}', {"city": "Oslo"}),
        (FORM, "Oslo", None),
        (question(), "n no reason", "n no reason"),
    ],
)
def test_a_line_answers_a_question_or_does_not_fit(
    asked: Interrupt, line: str, payload: Any
) -> None:
    answer = answer_to(asked, line)
    assert (None if answer is None else answer.payload) == payload


def test_a_question_says_how_to_answer_it() -> None:
    assert shown(SIZES).splitlines()[:3] == ["asks: Well?", "   1. small", "   2. large"]
    assert "n REASON" in shown(APPROVAL) and "yes or no" not in shown(APPROVAL)
    assert "city (string), room (single or double)" in shown(FORM)
    client = Interrupt("c", CLIENT_TOOL, metadata={"agentws": {"tool": "get_location"}})
    assert shown(client) == "waits for a client that has the tool get_location"


@pytest.mark.parametrize("schema", [{"properties": 7}, {"properties": {"a": None}}, {"type": []}])
def test_a_strange_schema_is_shown_too(schema: dict[str, Any]) -> None:
    assert "asks: Well?" in shown(question(response_schema=schema))


def test_a_line_answers_the_first_open_question_of_the_run_that_asked_last() -> None:
    questions = Questions()
    old, first, second = question("old"), question("first"), question("second")
    client = question("client", CLIENT_TOOL)
    assert questions.current([]) is None
    assert questions.current([old, client]) == old
    questions.asked([first, second])
    assert questions.current([old, first, second]) == first
    questions.answered("first")
    assert questions.current([old, first, second]) == second
    questions.refused("first")
    assert questions.current([old, first, second]) == first


def test_a_pipe_gets_a_question_and_its_tools_as_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = Screen(interactive=False)
    log: list[e.AnyEvent] = [
        e.ToolCallStart("c", "look_up"),
        e.ToolCallResult("m", "c", "found"),
        e.ActivitySnapshot("a", "agentws.source", {"number": 1, "url": "https://example.com"}),
        e.RunFinished("s", "r", outcome=InterruptOutcome([SIZES])),
    ]
    for event in log:
        screen.show(LogEvent("1", "r", event))
    assert capsys.readouterr() == ("", "-- calls look_up\n-- asks: Well?\n")


def test_tools_sources_files_and_agents_are_one_line_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = Screen(interactive=True)
    told = {"agentws": {"status": "error", "duration": 1.25}}
    file = {"id": "f", "name": "a.csv", "type": "text/csv", "size": 7}
    log: list[e.AnyEvent] = [
        e.ToolCallStart("c", "look_up"),
        e.ToolCallResult("m", "c", "not\nfound " + "x" * 100, metadata=told),
        e.ActivitySnapshot("a", "agentws.source", {"number": 1, "url": "https://example.com"}),
        e.ActivitySnapshot("f", "agentws.file", file),
        e.AgentChosen("billing"),
    ]
    for event in log:
        screen.show(LogEvent("1", "r", event))
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("-- look_up: error in 1.2 s, not found xx")
    assert lines[1].endswith("...") and len(lines[1]) < 120
    assert lines[2:] == [
        "-- source [1] https://example.com",
        "-- file a.csv: text/csv, 7 bytes",
        "-- billing goes on",
    ]


def test_questions_and_approvals_are_answered_at_a_terminal(serve: Serve, terminal: Open) -> None:
    server = serve("demo")
    screen = terminal("chat", server.url)
    screen.see("> ")
    screen.type("ask\n")
    screen.see("-- asks: Which size?\n   1. small\n   2. medium\n   3. large\n")
    screen.see("> ")
    screen.type("huge\n")
    screen.see("-- that does not answer the question")
    screen.see("> ")
    screen.type("/count\n")
    screen.see("messages so far")
    screen.see("> ")
    screen.type("2\n")
    screen.see("A medium one, then.")
    screen.see("\n> ")
    screen.type("approve\n")
    screen.see("n REASON does not")
    screen.see("> ")
    screen.type("n too dear\n")
    screen.see("-- postcard: denied")
    screen.see("Then I don't.")
    screen.see("too dear")
    screen.see("\n> ")
    screen.type("form\n")
    screen.see("city (string), nights (integer)")
    screen.see("> ")
    screen.type("/skip\n")
    screen.see("No trip, then.")
    screen.see("\n> ")
    screen.type("form\n")
    for asked, line in (
        ("   City (text)", "Oslo"),
        ("-- Nights (a whole number)", "many"),
        ("-- that does not answer the question: expected a whole number", "2"),
        ("-- Room (double or single; empty: single)", ""),
        ("-- Breakfast (y or n; empty: yes)", "n"),
    ):
        screen.see(asked)
        screen.see("> ")
        screen.type(f"{line}\n")
    screen.see("Oslo")
    screen.see("\n> ")
    screen.type(CTRL_D)
    assert screen.wait() == 0
    assert "Traceback" not in screen.shown


def test_an_open_question_is_shown_again_when_a_session_is_continued(
    serve: Serve, terminal: Open
) -> None:
    server, session = serve("demo"), "a-session-of-my-own"
    first = terminal("chat", server.url, "--session", session)
    first.see("> ")
    first.type("approve\n")
    first.see("n REASON does not")
    first.see("> ")
    second = terminal("chat", server.url, "--session", session)
    second.see("n REASON does not")
    second.see("> ")
    second.type("y\n")
    second.see("Done. To Ada")
    first.see("Done. To Ada")


def test_files_are_attached_to_the_next_message(
    serve: Serve, terminal: Open, tmp_path: Path
) -> None:
    server = serve("demo")
    (tmp_path / "my notes.txt").write_text("Remember the milk")
    screen = terminal("chat", server.url)
    screen.see("-- /attach PATH sends a file with the next message")
    screen.see("> ")
    screen.type("/attach\n")
    screen.see("-- expected /attach PATH")
    screen.see("> ")
    screen.type(f"/attach {tmp_path}/none.txt\n")
    screen.see("-- error: ")
    screen.see("No such file")
    screen.see("> ")
    screen.type("/attach ~nobody-of-this-name/notes.txt\n")
    screen.see("-- error: ~nobody-of-this-name/notes.txt: ")
    screen.see("> ")
    screen.type(f"/attach '{tmp_path}/my notes.txt'\n")
    screen.see("-- my notes.txt (17 bytes) goes with the next message, or an empty line")
    screen.see("> ")
    screen.type("/count\n")
    screen.see("messages so far")
    screen.see("> ")
    screen.type("sources\n")
    screen.see("I got `my notes.txt`: text/plain, 17 bytes.")
    screen.see("-- source [1] The AG-UI protocol https://docs.ag-ui.com/")
    screen.see("\n> ")
    screen.type("sources\n")
    screen.see("\n> ")
    assert screen.shown.count("I got") == 1
    screen.type(f"/attach '{tmp_path}/my notes.txt'\n")
    screen.see("\n> ")
    screen.type("\n")
    screen.see("I got `my notes.txt`")


def test_the_trip_of_the_demo_names_its_fields() -> None:
    from agentws.agents.schemas import schema_of

    assert "breakfast (boolean)" in shown(question(response_schema=schema_of(Trip)))
