"""The glossary maps words that the code uses, each in one well-formed row."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import pytest

from .pages import ROOT, page, rows

PAGE = page("glossary.md")
ROWS = rows(PAGE)
ENTRIES = [(term.strip(), row[1]) for row in ROWS for term in re.split(r", (?![^(]*\))", row[0])]


@cache
def sources() -> str:
    """All code of the package, Python and JavaScript, without its folder of other people's code."""
    files = [
        path
        for suffix in ("py", "js")
        for path in sorted((ROOT / "agentws").rglob(f"*.{suffix}"))
        if "vendor" not in path.parts
    ]
    return "\n".join(path.read_text() for path in files).lower()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_has_our_word_and_the_field_s(row: list[str]) -> None:
    assert len(row) == 2
    assert all(row), "a cell is empty"
    assert row[1][-1] != "."


def test_every_section_is_a_table_with_the_same_heading() -> None:
    sections = PAGE.split("\n## ")[1:]
    assert sections
    assert [one.splitlines()[2] for one in sections] == [
        "| our word | the field's word |" for _ in sections
    ]


@pytest.mark.parametrize("term", [term for term, _ in ENTRIES])
def test_a_word_of_the_glossary_is_used_in_the_code(term: str) -> None:
    """In any form: ``gather`` would do for ``gathering``, ``orphan`` for ``orphaned``."""
    for word in term.lower().split():
        stem = re.escape(re.sub("(ed|ing|s)$", "", word))
        assert re.search(rf"(?<![a-z]){stem}", sources()), f"the code does not say {word}"


def test_no_word_stands_in_the_glossary_twice() -> None:
    counted = Counter(term for term, _ in ENTRIES)
    assert [term for term, count in counted.items() if count > 1] == []
