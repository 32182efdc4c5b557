"""What ``Annotated`` says of a tool's parameters is in its schema, and kept by its arguments."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from pydantic import AfterValidator, Field

from agentws import tool
from agentws.errors import ToolArgumentsInvalid


@tool
def order(
    code: Annotated[str, Field(description="The code", pattern="^[A-Z]+$", max_length=3)],
    count: Annotated[int, Field(ge=1, le=9), msgspec.Meta(title="Count")] = 1,
    note: Annotated[str, "For the kitchen"] = "",
    table: Annotated[int, "Which", object()] = 0,
) -> str:
    return code * count


def property_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = order.parameters["properties"][name]
    return found


def test_a_field_of_pydantic_and_a_text_describe_a_parameter() -> None:
    described = {"type": "string", "description": "The code", "pattern": "^[A-Z]+$", "maxLength": 3}
    assert property_of("code") == described
    assert property_of("count") == {
        "type": "integer",
        "title": "Count",
        "minimum": 1,
        "maximum": 9,
        "default": 1,
    }
    assert property_of("note")["description"] == "For the kitchen"
    assert property_of("table")["description"] == "Which"


@pytest.mark.parametrize("given", [{"code": "abc"}, {"code": "ABCD"}, {"code": "A", "count": 0}])
def test_the_bounds_of_a_field_are_kept(given: dict[str, Any]) -> None:
    with pytest.raises(ToolArgumentsInvalid):
        order.parse(given)


def test_arguments_within_the_bounds_are_taken() -> None:
    assert order.parse({"code": "AB", "count": 9})["count"] == 9


def test_a_field_as_default_is_refused_with_what_to_write() -> None:
    def count(number: int = Field(1, ge=1)) -> int:
        return number

    with pytest.raises(TypeError, match=r"expected Annotated\[the type, Field"):
        tool(count)


@pytest.mark.parametrize(
    "field", [Field(strict=True), Field(gt=0, allow_inf_nan=False), AfterValidator(abs)]
)
def test_a_check_that_can_not_be_made_is_not_dropped_in_silence(field: Any) -> None:
    def count(number: Any) -> int:
        return int(number)

    count.__annotations__["number"] = Annotated[float, field]
    with pytest.raises(TypeError, match="msgspec can make.*expected bounds"):
        tool(count)
