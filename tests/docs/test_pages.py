"""What the pages show is true: blocks are those of files that tests run, or run here; links lead
somewhere."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from .pages import PAGES, ROOT, Block, blocks

BLOCKS = [block for page in PAGES for block in blocks(page)]
LANGUAGES = {"python", "json", "js", "jsx", "nginx", "text", "toml"}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_names_its_language(block: Block) -> None:
    assert block.language in LANGUAGES


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.note.startswith("from ")], ids=str)
def test_a_block_is_as_in_the_file_it_is_from(block: Block) -> None:
    file = ROOT / block.note.removeprefix("from ")
    assert block.text in file.read_text(), f"{block} is not in {block.note.removeprefix('from ')}"


def test_scripts_of_a_page_are_from_files_that_are_run() -> None:
    loose = [str(one) for one in BLOCKS if one.language in ("js", "jsx") and not one.note]
    assert loose == []


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language == "python" and not b.note], ids=str
)
def test_python_of_a_page_runs(block: Block, tmp_path: Path, monkeypatch: Any) -> None:
    """As a module; its ``test_`` functions too."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "block"}
    exec(compile(textwrap.dedent(block.text), str(block), "exec"), names)
    for name, value in names.items():
        if name.startswith("test_") and inspect.iscoroutinefunction(value):
            asyncio.run(value())


def test_the_page_on_testing_works_in_a_folder_with_nothing_else(tmp_path: Path) -> None:
    page = ROOT / "docs/testing.md"
    files = [one for one in blocks(page) if re.fullmatch(r"[\w.]+\.(py|toml)", one.note)]
    for one in files:
        (tmp_path / one.note).write_text(one.text)
    assert {one.note for one in files} == {"test_chat.py", "pyproject.toml", "conftest.py"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_every_page_is_linked() -> None:
    linked = set()
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s#]+)", page.read_text()):
            linked.add((page.parent / target).resolve())
    assert [str(page) for page in PAGES[1:] if page not in linked | {ROOT / "docs/index.md"}] == []


def test_lines_are_not_longer_than_a_screen() -> None:
    """Tables and samples may be: they can't be broken."""
    long = [
        f"{page.relative_to(ROOT)}:{number}"
        for page in PAGES
        for number, line in enumerate(page.read_text().splitlines(), 1)
        if len(line) > 140 and not line.startswith(("|", "{", " "))
    ]
    assert long == []
