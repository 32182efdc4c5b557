"""``agentws chat`` with other encodings than UTF-8: no text is lost, and nothing raises."""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import re
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentws.cli import streams
from agentws.cli.streams import decoded, read_all, read_lines

from .conftest import AGENTS, COMMAND, PATIENCE, Server, Terminal, environment

SESSION = "a-session-of-its-own"
TEXT = "naïve café – 10 € 你好 🙂 done"
# Without these two, Python uses UTF-8 in a locale that has only ASCII.
AS_IT_IS = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ASCII: list[dict[str, str]] = [
    {"PYTHONIOENCODING": "ascii:strict"},
    {"LC_ALL": "POSIX", "PYTHONIOENCODING": ":strict"} | AS_IT_IS,
    {"LC_ALL": "C"} | AS_IT_IS,
]
ENCODINGS = ["latin-1", "cp1252", "shift_jis", "utf-8"]
LOCALES: list[dict[str, str]] = [{"LC_ALL": "C"}, *ASCII]
LOCALES += [{"PYTHONIOENCODING": encoding} for encoding in ENCODINGS]


def encoding_of(env: dict[str, str]) -> str:
    named = env.get("PYTHONIOENCODING", "").partition(":")[0]
    return named or ("ascii" if "PYTHONUTF8" in env else "utf-8")


def piped(
    server: Server, data: bytes, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [*COMMAND, "chat", server.url, *arguments],
        env=environment(**(env or {})),
        input=data,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert b"Traceback" not in done.stderr
    return done


def unescaped(text: str) -> str:
    """``text`` with escapes such as ``\\u4f60`` decoded."""
    escape = r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})"
    return re.sub(escape, lambda found: chr(int(found[1][1:], 16)), text)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("encodings")
    (folder / "agents.py").write_text(AGENTS)
    with Server(folder, ["run", "agents:Echo"], {}) as one:
        yield one


@pytest.mark.parametrize("env", LOCALES, ids=str)
def test_an_answer_is_complete_in_every_output_encoding(
    server: Server, env: dict[str, str]
) -> None:
    done = piped(server, TEXT.encode(), env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode(encoding_of(env))
    assert unescaped(shown) == TEXT + " \n"
    assert "done" in shown


@pytest.mark.parametrize("env", LOCALES, ids=str)
def test_json_lines_are_valid_in_every_output_encoding(server: Server, env: dict[str, str]) -> None:
    done = piped(server, TEXT.encode() + b"\numbruch\n", "--json", env=env)
    assert (done.returncode, done.stderr) == (1, b"")
    lines = [json.loads(line) for line in done.stdout.decode(encoding_of(env)).splitlines()]
    events = [line["event"] for line in lines if "event" in line]
    said = "".join(event.get("delta", "") for event in events)
    assert said == TEXT + " "
    assert events[-1]["message"] == "Es ist zerbrochen: 你好"


@pytest.mark.parametrize("env", ASCII, ids=str)
def test_an_error_message_is_shown_in_every_encoding(server: Server, env: dict[str, str]) -> None:
    done = piped(server, b"umbruch", env=env)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1
    assert unescaped(done.stderr.decode(encoding_of(env))) == "-- error: Es ist zerbrochen: 你好\n"


def test_an_error_handler_that_the_user_has_set_is_kept(server: Server) -> None:
    done = piped(server, "a 你 b".encode(), env={"PYTHONIOENCODING": "ascii:replace"})
    assert done.stdout == b"a ? b \n"


MARKED = {
    "utf-8": codecs.BOM_UTF8 + TEXT.encode(),
    "utf-16-le": codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
    "utf-16-be": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
}


@pytest.mark.parametrize("encoding", MARKED)
@pytest.mark.parametrize("ends", ["", "\r\n"])
def test_a_byte_order_mark_is_removed(server: Server, encoding: str, ends: str) -> None:
    data = MARKED[encoding] + ends.encode(encoding)
    assert piped(server, data).stdout.decode() == TEXT + " \n"
    twice = data + (ends or "\n").encode(encoding) + "fail".encode(encoding)
    done = piped(server, twice, "--json")
    asked = [
        event["message"]["content"]
        for line in done.stdout.splitlines()
        if (event := json.loads(line).get("event", {})).get("type") == "message.accepted"
    ]
    assert asked == [TEXT, "fail"]


def test_a_command_after_a_byte_order_mark_is_recognized(server: Server) -> None:
    assert b"/whoami" in piped(server, codecs.BOM_UTF8 + b"/help").stdout


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, *(codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)])
def test_input_of_a_byte_order_mark_alone_is_empty(server: Server, mark: bytes) -> None:
    done = piped(server, mark)
    assert done.returncode == 2 and b"nothing" in done.stderr


@pytest.mark.parametrize(
    ("data", "env", "expected"),
    [
        (b"caf\xe9", {"PYTHONIOENCODING": "latin-1"}, "café"),
        (b"10 \x80", {"PYTHONIOENCODING": "cp1252"}, "10 €"),
        ("café".encode(), {"PYTHONIOENCODING": "latin-1"}, "café"),
        ("café".encode(), {"PYTHONIOENCODING": "ascii"}, "café"),
        (b"caf\xe9", {"PYTHONIOENCODING": "utf-8"}, "caf\ufffd"),
        (b"caf\xe9", {"PYTHONIOENCODING": "ascii"}, "caf\ufffd"),
        # Half a character, and lone surrogates, which UTF-8 can't encode.
        (b"a \xe4\xbd", {}, "a \ufffd"),
        (b"a \xed\xa0\xbd\xed\xb9\x82", {}, "a " + 6 * "\ufffd"),
        (codecs.BOM_UTF16_LE + b"a\0 \0=\xd8", {}, "a \ufffd"),
        (codecs.BOM_UTF16_LE + b"a\0b", {}, "a\ufffd"),
    ],
)
def test_input_that_is_not_utf_8_is_read(
    server: Server, data: bytes, env: dict[str, str], expected: str
) -> None:
    for arguments in ((), ("--json",)):
        done = piped(server, data, *arguments, "--session", SESSION, env=env)
        assert done.returncode == 0
    with urllib.request.urlopen(f"{server.url}sessions/{SESSION}/messages") as page:
        messages = json.load(page)["messages"]
    asked = [one["content"] for one in messages if one["role"] == "user"]
    assert asked[-2:] == [expected, expected]


def test_a_conversation_at_a_terminal_of_another_encoding(
    server: Server, terminal: Callable[..., Terminal]
) -> None:
    screen = terminal("chat", server.url, encoding="latin-1", PYTHONIOENCODING="latin-1")
    screen.see("> ")
    screen.type("café au lait\n")
    screen.see("café au lait ")
    screen.see("> ")
    screen.type("umbruch\n")
    screen.see("-- error: Es ist zerbrochen: \\u4f60\\u597d")
    screen.see("> ")


def test_a_conversation_at_a_terminal_that_shows_ascii(
    server: Server, terminal: Callable[..., Terminal]
) -> None:
    screen = terminal("chat", server.url, PYTHONIOENCODING="ascii")
    screen.see("> ")
    screen.type("你好 there\n")
    screen.see("\\u4f60\\u597d there ")
    screen.see("> ")


@pytest.mark.parametrize(
    ("redirect", "status", "said"),
    [
        ("<&-", 2, "nothing on standard input"),
        (">&-", 1, "standard output is closed"),
        (">/dev/full", 1, "No space left"),
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
    ],
)
@pytest.mark.parametrize("mode", ["", "--json"])
def test_a_closed_or_full_stream_is_reported_in_one_line(
    server: Server, redirect: str, status: int, said: str, mode: str
) -> None:
    command = f"echo hi | {' '.join(COMMAND)} chat {server.url} {mode} {redirect}"
    done = subprocess.run(
        ["sh", "-c", command], env=environment(), capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr.count("\n")) == (status, 1 if said else 0)
    assert said in done.stderr
    assert "hi" in done.stdout or said


# Reading


def test_a_byte_order_mark_may_arrive_in_two_reads() -> None:
    data = codecs.BOM_UTF16_LE + "höchstens".encode("utf-16-le")
    source, sink = os.pipe()
    os.write(sink, data[:1])

    def rest() -> None:
        os.write(sink, data[1:])
        os.close(sink)

    writing = threading.Timer(0.2, rest)
    writing.start()
    assert read_all(source) == "höchstens"
    writing.join()
    os.close(source)


async def test_input_that_does_not_block_is_read_to_its_end() -> None:
    """As from a pipe that another program has made non-blocking, before it writes."""
    source, sink = os.pipe()
    os.set_blocking(source, False)
    lines = read_lines(source)
    first = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0.05)
    os.write(sink, b"one\ntw")
    assert await first == "one"
    second = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0.05)
    os.write(sink, b"o\n")
    assert await second == "two"
    os.close(sink)
    assert [one async for one in lines] == []
    os.close(source)


@pytest.mark.parametrize("data", [b"\xff", b"\xfe", b"\xff\n", b"\n"])
def test_text_that_begins_with_half_a_byte_order_mark_is_kept(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "input").write_bytes(data)
    with (tmp_path / "input").open("rb") as source:
        assert read_all(source.fileno()) == decoded(data, ["utf-8"])


async def test_a_long_line_costs_no_more_than_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joined again with each piece, this line would take minutes."""
    monkeypatch.setattr(streams, "_CHUNK", 256)
    line = "x" * 2**24
    (tmp_path / "input").write_text(f"a\r\n{line}\nb\n\nc")
    with (tmp_path / "input").open("rb") as source:
        lines = [one async for one in read_lines(source.fileno())]
    assert lines == ["a", line, "b", "", "c"]


async def test_few_lines_are_read_before_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    read, ended = 0, False

    def endless(descriptor: int) -> bytes:
        nonlocal read
        read += not ended
        return b"" if ended else b"yes\n"

    monkeypatch.setattr(streams, "_read", endless)
    source, sink = os.pipe()
    lines = read_lines(source)
    for wanted in range(1, 3 * streams.AHEAD):
        assert await anext(lines) == "yes"
        await asyncio.sleep(0.001)
        assert read <= wanted + streams.AHEAD + 2
    ended = True
    assert {one async for one in lines} <= {"yes"}
    os.close(source)
    os.close(sink)


def test_an_unknown_encoding_is_skipped() -> None:
    assert decoded(b"caf\xe9", ["nonsense", "utf-8", "latin-1"]) == "café"
