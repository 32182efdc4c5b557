"""The first example of each page about a conversation answers as a newcomer would expect."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agentws.testing.connect import connect, running
from tests.http.calling import client
from tests.runs.asking import answer, questions
from tests.runs.harness import talk

from .pages import DOCS, blocks

MOST_LINES = 10


@contextmanager
def first_example(name: str) -> Iterator[Any]:
    """The first Python block of a page, as a module."""
    block = next(one for one in blocks(DOCS / name) if one.language == "python")
    module = ModuleType("first_example")
    sys.modules[module.__name__] = module
    try:
        exec(compile(block.text, str(block), "exec"), module.__dict__)
        yield module
    finally:
        del sys.modules[module.__name__]


@pytest.mark.parametrize(
    ("page", "agent", "said", "answered"),
    [
        ("tools.md", "Support", "How much?", "It costs 20.0."),
        ("overlap.md", "Travel", "Go", "Looking at Rome. Looking at Oslo. Looking at Lima. "),
        ("state.md", "Basket", "apples", "There are 1 things in your basket."),
    ],
)
async def test_the_first_example_answers(page: str, agent: str, said: str, answered: str) -> None:
    with first_example(page) as module:
        async with talk(getattr(module, agent)) as one:
            await one.client.say(said, "m1")
            assert await one.client.answer() == answered
            await one.check()


async def test_the_first_example_of_asking_goes_on_with_the_answer() -> None:
    with first_example("asking.md") as module:
        async with talk(module.Shop) as one:
            await one.client.say("A shirt, please", "m1")
            (asked,) = await questions(one.client)
            assert asked["metadata"]["agentws"]["choices"] == ["small", "large"]
            await one.client.ask(answer("a1", asked["id"], "small"))
            assert await one.client.answer() == "A small one, then."


async def test_the_first_example_of_files_reads_what_was_uploaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with first_example("files.md") as module:
        async with running(module.app), connect(module.app) as one, client(module.app) as http:
            await one.until("welcome")
            made = await http.put(f"/files/a.txt?session={one.session}", content=b"Hello")
            frame = {"type": "send", "id": "m1", "content": "Look"}
            await one.ask({**frame, "attachments": [made.json()["id"]]})
            assert await one.answer() == "a.txt is text/plain, 5 bytes. "


@pytest.mark.parametrize(
    "name", ["tools.md", "asking.md", "overlap.md", "several-agents.md", "files.md", "state.md"]
)
def test_the_first_example_is_short(name: str) -> None:
    """Its lines of code; imports and blank lines are not counted."""
    block = next(one for one in blocks(DOCS / name) if one.language == "python")
    lines = [line for line in block.text.splitlines() if line.strip()]
    code = [line for line in lines if not line.startswith(("from ", "import "))]
    assert len(code) <= MOST_LINES
