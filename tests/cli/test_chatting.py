"""``agentws chat`` at a terminal and in a pipe."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import msgspec
import pytest

from agentws.cli.chat import endpoint
from agentws.cli.screen import Screen
from agentws.cli.streams import printable
from agentws.client import LogEvent
from agentws.errors import BadRequest
from agentws.protocol import events as e

from .conftest import Server, Terminal

Command = Callable[..., subprocess.CompletedProcess[str]]
Serve = Callable[..., Server]
CTRL_C, CTRL_D = "\x03", "\x04"


def test_a_conversation_at_a_terminal(serve: Serve, terminal: Callable[..., Terminal]) -> None:
    server = serve("run", "agents:Echo")
    screen = terminal("chat", server.url)
    screen.see("Ctrl-D quits")
    screen.see("> ")
    screen.type("hello there\n")
    assert screen.see("\n> ") == "hello there "
    screen.type("/help\n")
    screen.see("/whoami")
    screen.see("\n> ")
    screen.type("/hlep\n")
    screen.see("-- error: There is no command /hlep.")
    screen.see("> ")
    screen.type("fail\n")
    screen.see("half\n-- error: It broke.")
    screen.see("> ")
    screen.type("slow\n")
    screen.see("0 1 2 ")
    screen.type(CTRL_C)
    screen.see("-- stopped")
    screen.see("> ")
    screen.type("and on\n")
    screen.see("and on ")
    screen.see("> ")
    screen.type(CTRL_D)
    screen.see("--session ses_")
    assert screen.wait() == 0
    assert "Traceback" not in screen.shown


def test_a_conversation_is_continued_and_its_last_messages_are_shown(
    serve: Serve, terminal: Callable[..., Terminal]
) -> None:
    server = serve("run", "agents:Echo")
    session = "a-session-of-my-own"
    first = terminal("chat", server.url, "--session", session)
    first.see("> ")
    first.type("hello\n")
    first.see("hello \n> ")
    second = terminal("chat", server.url, "--session", session)
    second.see("> hello\nhello \n")
    second.see("> ")
    second.type("from here\n")
    first.see("-- from elsewhere: from here")
    first.see("from here ")


def test_a_second_ctrl_c_ends_the_chat(serve: Serve, terminal: Callable[..., Terminal]) -> None:
    server = serve("run", "agents:Echo")
    screen = terminal("chat", server.url)
    screen.see("> ")
    screen.type(CTRL_C)
    screen.see("Ctrl-C again")
    screen.type(CTRL_C)
    assert screen.wait() == 130


def test_a_restart_of_the_server_is_shown_in_one_line(
    serve: Serve, terminal: Callable[..., Terminal]
) -> None:
    server = serve("run", "agents:Echo", "--store", "sqlite:sessions.db")
    screen = terminal("chat", server.url)
    screen.see("> ")
    screen.type("slow\n")
    screen.see("0 1 2 ")
    server.kill()
    screen.see("-- connection lost")
    server.start()
    screen.see("-- connected again\n")
    screen.see("-- error:")
    screen.see("> ")
    screen.type("still here\n")
    screen.see("still here ")
    assert screen.shown.count("connection lost") == 1


def test_a_restart_without_the_sessions_is_reported(
    serve: Serve, terminal: Callable[..., Terminal]
) -> None:
    server = serve("run", "agents:Echo")
    screen = terminal("chat", server.url)
    screen.see("> ")
    screen.type("hello\n")
    screen.see("hello \n> ")
    server.kill()
    screen.see("-- connection lost")
    server.start()
    screen.see("-- connected again\n")
    screen.see("-- the server no longer has this conversation; a new one begins\n> ")
    screen.type("still here\n")
    screen.see("still here ")


def test_a_pipe_gets_only_the_answer(serve: Serve, command: Command) -> None:
    server = serve("run", "agents:Echo")
    done = command("chat", server.url, input="one\ntwo\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "one two \n", "")
    failed = command("chat", server.url, input="fail")
    assert (failed.returncode, failed.stdout) == (1, "half\n")
    assert failed.stderr == "-- error: It broke.\n"
    empty = command("chat", server.url, input="\n")
    assert empty.returncode == 2


def test_json_prints_one_line_for_everything_received(serve: Serve, command: Command) -> None:
    server = serve("run", "agents:Echo")
    done = command("chat", server.url, "--json", input="one\n\n/nope\ntwo\n")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["type"] == "session"
    events = [line["event"] for line in lines if "event" in line]
    assert [event["type"] for event in events if event["type"].startswith("RUN")] == [
        "RUN_STARTED",
        "RUN_FINISHED",
    ] * 2
    errors = [line for line in lines if line.get("type") == "error"]
    assert [error["code"] for error in errors] == ["unknown_command"]
    assert done.returncode == 1 and done.stderr == ""


def test_json_reports_a_line_that_can_not_be_sent_and_goes_on(
    serve: Serve, command: Command
) -> None:
    server = serve("run", "agents:Echo")
    done = command("chat", server.url, "--json", input="one\na\0b\ntwo\n")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    (error,) = [line for line in lines if line.get("type") == "error"]
    assert (error["code"], "reply" in error) == ("bad_request", False)
    events = [line["event"] for line in lines if "event" in line]
    asked = [one["message"]["content"] for one in events if one["type"] == "message.accepted"]
    assert (asked, done.returncode, done.stderr) == (["one", "two"], 1, "")


def test_a_refused_connection_is_reported_in_one_line(serve: Serve, command: Command) -> None:
    server = serve("run", "agents:Echo", "--api-key", "right=ann")
    done = command("chat", server.url, input="hi")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "Credentials" in done.stderr
    assert command("chat", server.url, "--token", "right", input="hi").stdout == "hi \n"
    assert command("chat", server.url, input="hi", AGENTWS_TOKEN="right").stdout == "hi \n"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("localhost:8000", "ws://localhost:8000/ws/chat"),
        ("http://localhost:8000", "ws://localhost:8000/ws/chat"),
        ("https://example.com/api/", "wss://example.com/api/ws/chat"),
        ("https://example.com/api", "wss://example.com/api/ws/chat"),
        ("localhost/api", "ws://localhost/api/ws/chat"),
        ("localhost/?next=http://x", "ws://localhost/ws/chat?next=http%3A%2F%2Fx"),
        (" localhost:8000 ", "ws://localhost:8000/ws/chat"),
        (" HTTP://localhost:8000\n", "ws://localhost:8000/ws/chat"),
        ("wss://example.com/api/ws/chat?x=1", "wss://example.com/api/ws/chat?x=1"),
    ],
)
def test_the_address_of_the_page_is_accepted(given: str, meant: str) -> None:
    assert endpoint(given) == meant


@pytest.mark.parametrize("given", ["ftp://example.com", "http:/example.com", "http:example.com"])
def test_an_invalid_address_is_refused(given: str) -> None:
    with pytest.raises(BadRequest, match=f"{given}. Expected ws://"):
        endpoint(given)


def test_no_prompt_follows_the_last_remark(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(interactive=True)
    screen.prompt()
    screen.leave("see you later")
    assert capsys.readouterr() == ("> \n", "-- see you later\n")


def test_a_branch_that_another_client_began_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(interactive=True)
    event = e.HistoryBranched("m1", "m2", "b1", "b2", ["b1", "b2"], (2, 5))
    screen.show(LogEvent("e.6.t", None, event))
    screen.show(LogEvent("e.9.t", None, msgspec.structs.replace(event, reload=True)))
    shown = capsys.readouterr()
    assert (shown.out + shown.err).count("goes on from an earlier message") == 1


def test_control_characters_of_an_agent_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[2Jb\x07\x9bc\td\n\x7fé\r") == "a[2Jbc\td\né"
