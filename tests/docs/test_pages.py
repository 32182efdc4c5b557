"""The samples on the pages work, because tests run them or the files that they are from, and links
have a target."""

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
LANGUAGES = {"python", "json", "js", "jsx", "nginx", "text", "toml", "yaml"}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_code_block_names_its_language(block: Block) -> None:
    assert block.language in LANGUAGES


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.note.startswith("from ")], ids=str)
def test_a_code_block_is_a_part_of_the_file_that_it_names(block: Block) -> None:
    file = ROOT / block.note.removeprefix("from ")
    assert block.text in file.read_text(), f"{block} is not in {block.note.removeprefix('from ')}"


def test_javascript_on_a_page_is_from_a_file_that_is_tested() -> None:
    unnamed = [str(one) for one in BLOCKS if one.language in ("js", "jsx") and not one.note]
    assert unnamed == []


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language == "python" and not b.note], ids=str
)
def test_python_on_a_page_runs(block: Block, tmp_path: Path, monkeypatch: Any) -> None:
    """As a module, and its ``test_`` functions."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "block"}
    exec(compile(textwrap.dedent(block.text), str(block), "exec"), names)
    for name, value in names.items():
        if name.startswith("test_") and inspect.iscoroutinefunction(value):
            asyncio.run(value())


def test_the_files_of_the_testing_page_work_in_an_empty_folder(tmp_path: Path) -> None:
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
def test_every_link_to_a_file_has_a_target(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_every_page_is_linked_from_another() -> None:
    linked = set()
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s#]+)", page.read_text()):
            linked.add((page.parent / target).resolve())
    assert [str(page) for page in PAGES[1:] if page not in linked | {ROOT / "docs/index.md"}] == []


def test_lines_of_text_fit_a_screen() -> None:
    """Tables and samples can't be wrapped, so they may be longer."""
    long = [
        f"{page.relative_to(ROOT)}:{number}"
        for page in PAGES
        for number, line in enumerate(page.read_text().splitlines(), 1)
        if len(line) > 140 and not line.startswith(("|", "{", " "))
    ]
    assert long == []
