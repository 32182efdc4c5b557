"""Forms at a terminal: simple fields one after the other, or JSON for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import pytest

from agentws.agents.schemas import converted, schema_of
from agentws.cli.asking import shown
from agentws.cli.demo.talking import Trip
from agentws.cli.forms import MOST, Form, fields_of, form_of
from agentws.protocol.messages import CLIENT_TOOL, Interrupt


class Size(msgspec.Struct):
    """Its fields are of every simple kind."""

    name: str
    width: float
    height: int | None = None
    kind: Literal["round", "square"] | None = None
    level: Literal[1, 2] = 1
    note: str = ""
    gift: bool = False


def question(schema: Any, **members: Any) -> Interrupt:
    return Interrupt("i", "input_required", "Which?", response_schema=schema, **members)


def filled(form: Form | None, lines: Sequence[str]) -> dict[str, Any] | None:
    assert form is not None
    for line in lines:
        assert form.answer is None
        form.take(line)
    return form.answer


def test_a_form_asks_for_each_field_in_its_order() -> None:
    form = form_of(question(schema_of(Trip)))
    assert form is not None
    asked = []
    for line in ("Oslo", "3", "double", "n"):
        asked.append(form.question)
        assert form.answer is None
        form.take(line)
    assert asked == [
        "City (text)",
        "Nights (a whole number)",
        "Room (double or single; empty: single)",
        "Breakfast (y or n; empty: yes)",
    ]
    assert form.answer == {"city": "Oslo", "nights": 3, "room": "double", "breakfast": False}


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (["a", "1.5", "2", "Round", "2", "x", "yes"], Size("a", 1.5, 2, "round", 2, "x", True)),
        (["a", " 2 ", "", "", "", "", ""], Size("a", 2.0)),
        (["", "-1e3", "", "", "", " y ", "N"], Size("", -1000.0, note="y")),
        (['{"name": "a", "width": 1}'], Size("a", 1.0)),
        (["[1]", "1", "", "", "", "{}", ""], Size("[1]", 1.0, note="{}")),
    ],
)
def test_the_lines_of_a_form_make_a_valid_answer(lines: list[str], answer: Size) -> None:
    made = filled(form_of(question(schema_of(Size))), lines)
    assert converted(made, Size) == answer


@pytest.mark.parametrize(
    ("before", "line", "said"),
    [
        ([], "", "at least 1 characters"),
        ([], "x" * 81, "at most 80 characters"),
        (["Oslo"], "many", "a whole number"),
        (["Oslo"], "1.5", "a whole number"),
        (["Oslo"], "", "nights is needed"),
        (["Oslo"], "0", "at least 1"),
        (["Oslo"], "31", "at most 30"),
        (["Oslo", "1"], "triple", "double or single"),
        (["Oslo", "1", ""], "perhaps", "y or n"),
    ],
)
def test_a_field_is_asked_for_again_until_its_value_fits(
    before: list[str], line: str, said: str
) -> None:
    form = form_of(question(schema_of(Trip)))
    assert form is not None
    for one in before:
        form.take(one)
    asked = form.question
    with pytest.raises(ValueError, match=said):
        form.take(line)
    assert form.question == asked
    rest = ["Oslo", "1", "", ""][len(before) :]
    assert filled(form, rest) == {"city": "Oslo", "nights": 1}


MANY = {"properties": {f"field{number}": {"type": "string"} for number in range(MOST + 1)}}


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"type": "string"},
        {"type": "object"},
        {"properties": {}},
        {"properties": 7},
        {"properties": {"a": None}},
        {"properties": {"a": {}}},
        {"properties": {"a": {"type": ["string", "null"]}}},
        {"properties": {"a": {"type": "array", "items": {"type": "string"}}}},
        {"properties": {"a": {"type": "string"}, "b": {"type": "object"}}},
        {"properties": {"a": {"enum": []}}},
        {"properties": {"a": {"enum": [{"b": 1}]}}},
        {"properties": {"a": {"enum": "abc"}}},
        {"properties": {"a": {"$ref": "#/$defs/none"}}},
        {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"properties": {"a": {"$ref": 7}}},
        {"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}},
        MANY,
    ],
    ids=str,
)
def test_any_other_schema_is_answered_as_a_whole(schema: Any) -> None:
    assert form_of(question(schema)) is None


def test_a_reference_is_followed_to_a_simple_field() -> None:
    kind = {"enum": ["a", "b"]}
    schema = {"properties": {"kind": {"$ref": "#/$defs/Kind"}}, "$defs": {"Kind": kind}}
    assert [field.choices for field in fields_of(schema)] == [["a", "b"]]


def test_choices_approvals_and_calls_of_a_client_are_no_forms() -> None:
    schema = schema_of(Trip)
    assert form_of(question(schema, metadata={"agentws": {"choices": ["a"]}})) is None
    for reason in ("tool_call", CLIENT_TOOL):
        assert form_of(Interrupt("i", reason, response_schema=schema)) is None


def test_a_question_with_a_form_shows_its_first_field() -> None:
    lines = shown(question(schema_of(Trip))).splitlines()
    assert "field by field, or with a JSON object" in lines[1]
    assert lines[2].strip() == "City (text)"
