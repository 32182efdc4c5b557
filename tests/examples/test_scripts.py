"""The examples that run and end: the clients, the worker, the resumed connection."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from agentws.client import LogEvent, connect
from agentws.errors import TooLarge
from agentws.events import ActivityMessage, NoticePosted
from tests.processes import ROOT

from . import serving


def run(script: str, *arguments: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, serving.EXAMPLES / script, *arguments],
        env=serving.environment(**(env or {})),
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_client_prints_its_answers() -> None:
    with serving.uvicorn("echo") as service:
        shown = run("python_client.py", service.chat).splitlines()
    assert shown[:3] == ["Hello in one piece ", "Hello piece by piece ", "[RunFinished]"]
    assert re.fullmatch(r"You are anonymous, in session \S+, with agent\.", shown[3])
    assert re.fullmatch(r"Resume later with session='\S+', after='\S+'", shown[4])


def test_the_plain_client_prints_its_answers() -> None:
    with serving.uvicorn("echo") as service:
        shown = run("plain_client.py", service.chat).splitlines()
    assert shown[:3] == [
        "text: Hello from a script ",
        "system: pong",
        "system: /ping — Tests the connection",
    ]


async def test_a_push_from_another_process_reaches_connected_and_later_clients(
    tmp_path: Path,
) -> None:
    env = {"CHAT_DATABASE": str(tmp_path / "chat.sqlite3")}
    with serving.uvicorn("push_from_worker", env=env) as service:
        async with connect(service.chat) as chat:
            await chat.ask("Hello")
            updates = chat.watch()
            assert chat.session is not None
            position = run("push_from_worker.py", chat.session, "It is ready.", env=env).strip()
            async for update in updates:
                if isinstance(update, LogEvent):
                    assert isinstance(update.event, NoticePosted)
                    assert (update.position, update.event.content) == (position, "It is ready.")
                    break
            session = chat.session
        # The notice is in the log, so a later client gets it too.
        async with connect(service.chat, session=session) as chat:
            assert chat.position == position


async def test_a_post_from_another_process_reaches_who_follows_the_topic_now_or_later(
    tmp_path: Path,
) -> None:
    env = {"CHAT_DATABASE": str(tmp_path / "chat.sqlite3")}
    with serving.uvicorn("push_from_worker", env=env) as service:
        async with connect(service.chat) as chat:
            news = await chat.subscribe("news")
            position = run("push_from_worker.py", "news", "Version 2.", env=env).strip()
            async with asyncio.timeout(10):
                update = await anext(news)
            assert isinstance(update, LogEvent) and isinstance(update.event, NoticePosted)
            assert (update.position, update.event.content) == (position, "Version 2.")
        async with connect(service.chat) as chat, asyncio.timeout(10):
            later = await anext(await chat.subscribe("news"))
            assert isinstance(later, LogEvent) and later.position == position


@pytest.mark.parametrize("attempt", range(2))
def test_the_resume_example_prints_what_the_readme_shows(attempt: int) -> None:
    shown = run("resume.py")
    assert "resume: replay" in shown
    assert "".join(re.findall(r"<- delta +(.*)", shown)) == "one two three four five six "
    transcript = [line.rstrip() for line in shown.splitlines()]
    readme = (ROOT / "README.md").read_text()
    assert "\n".join(transcript) in readme


def fetched(url: str) -> str:
    with urllib.request.urlopen(url) as response:
        return str(response.read().decode())


async def test_the_files_example_counts_words_and_answers_with_a_table(tmp_path: Path) -> None:
    with serving.script("files.py", env={"CHAT_FILES": str(tmp_path / "files")}) as service:
        async with connect(service.chat) as chat:
            notes = await chat.upload(b"the cat and the dog " * 20_000, name="notes.txt")
            picture = await chat.upload(b"\x89PNG\r\n\x1a\n" + bytes(20), name="notes.png")
            answer = await chat.ask("Count", attachments=[notes, picture])
            assert answer.startswith("Reading notes.txt, 400000 bytes. It has 100000 words. ")
            assert answer.endswith("notes.png is image/png: that has no words. ")
            (made,) = [one for one in chat.messages if isinstance(one, ActivityMessage)]
            query = f"files/{made.content['id']}?session={chat.session}"
            table = await asyncio.to_thread(fetched, f"{service.http}/{query}")
            rows = ["and,20000", "cat,20000", "dog,20000", "the,40000", "word,count"]
            assert sorted(table.splitlines()) == rows
            with pytest.raises(TooLarge):
                await chat.upload(bytes(2 * 1024 * 1024))
