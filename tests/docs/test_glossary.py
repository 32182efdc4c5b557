"""The glossary maps words that the code uses, each in one well-formed row."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import pytest

from .pages import ROOT, page, rows

PAGE = page("glossary.md")
SECTIONS = PAGE.split("\n## ")[1:]
HEADING = ["| our word | the field's word |", "|---|---|"]


def terms(text: str) -> list[str]:
    """The words of the first column: several may share a row, and a note may follow in brackets."""
    cells = [re.sub(r"\([^)]*\)", "", row[0]) for row in rows(text)]
    return [term.strip(" `") for cell in cells for term in cell.split(",")]


@cache
def sources() -> str:
    """The package's own Python and JavaScript, in lower case."""
    files = [*(ROOT / "agentws").rglob("*.py"), *(ROOT / "agentws").rglob("*.js")]
    return "\n".join(file.read_text() for file in files if "vendor" not in file.parts).lower()


@pytest.mark.parametrize("row", rows(PAGE), ids=lambda row: row[0])
def test_a_row_of_the_glossary_has_our_word_and_the_fields(row: list[str]) -> None:
    assert len(row) == 2
    assert all(row), "a cell is empty"
    assert not row[1].endswith("."), "a row is not a sentence"


@pytest.mark.parametrize("text", SECTIONS, ids=lambda text: text.splitlines()[0])
def test_a_section_of_the_glossary_is_one_table_without_repeated_words(text: str) -> None:
    lines = [line for line in text.splitlines()[1:] if line]
    assert lines[:2] == HEADING
    assert [line for line in lines if not line.startswith("|")] == []
    assert [term for term, count in Counter(terms(text)).items() if count > 1] == []


@pytest.mark.parametrize("term", sorted(set(terms(PAGE))))
def test_a_word_of_the_glossary_is_used_in_the_code(term: str) -> None:
    """In any form: ``gather`` would do for ``gathering``, ``orphan`` for ``orphaned``."""
    for word in term.lower().split():
        stem = re.escape(re.sub("(ed|ing|s)$", "", word))
        assert re.search(rf"(?<![a-z]){stem}", sources()), f"the code does not say {word}"
