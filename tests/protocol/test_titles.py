"""The title that is made of a text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentws.protocol.strict import check_value
from agentws.protocol.titles import title_from

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Where is my invoice?", "Where is my invoice?"),
        ("  two\n\n lines\tof text ", "two lines of text"),
        ("Please explain the invoice of March, which I do not understand", "Please explain the…"),
        ("x" * 40, "x" * 23 + "…"),
        ("", None),
        (" \n\t ", None),
        ("a\u202eb\x00c", "abc"),
        ("\ud800fine", "fine"),
        (FAMILY * 20, FAMILY * 4 + "…"),
        ("e\u0301" * 30, "e\u0301" * 11 + "…"),
    ],
)
def test_a_title_is_one_line_cut_at_a_word(text: str, title: str | None) -> None:
    assert title_from(text, length=24) == title


@given(st.text(st.characters(codec=None), max_size=300), st.integers(9, 80))
def test_a_title_is_short_and_can_be_sent(text: str, length: int) -> None:
    title = title_from(text, length=length)
    if title is None:
        assert not any(char.isalnum() for char in text)
        return
    assert 0 < len(title) <= length
    assert title == title.strip()
    assert not {unicodedata.category(char) for char in title} & {"Cc", "Cs"}
    check_value(title.encode().decode(), "title")
    assert title_from(title, length=length) == title
