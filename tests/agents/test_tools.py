"""Tools: their schema, their arguments, and what their functions may look like."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import pydantic
import pytest

from agentws import RunContext, tool
from agentws.agents.results import content_of, result_of
from agentws.errors import ToolArgumentsInvalid, ToolError
from agentws.protocol.messages import Content, TextPart


class Receipt(msgspec.Struct):
    order: str
    amount: float


class Address(pydantic.BaseModel):
    street: str
    number: int = 1


class Person(pydantic.BaseModel):
    name: str
    home: Address


class Node(msgspec.Struct):
    name: str
    children: list[Node] = []


@tool
async def refund(order: str, amount: float, reason: Literal["late", "broken"] = "late") -> Receipt:
    """Refunds an order.

    The money is back in three days.
    """
    return Receipt(order, amount)


@tool(name="add", approve=lambda args: args.left > 10, timeout=2)
def plus(left: Annotated[int, msgspec.Meta(description="The first")], right: int = 1) -> int:
    return left + right


@tool
async def move(person: Person, to: list[Address]) -> Person:
    return person.model_copy(update={"home": to[0]})


@tool
async def walk(tree: Node) -> int:
    below: list[int] = [await walk(one) for one in tree.children]
    return 1 + sum(below)


@tool
async def whose(ctx: RunContext, order: str) -> str:
    return f"{order} of {ctx}"


@tool
async def maybe(order: str, ctx: RunContext | None = None) -> str:
    return f"{order} {ctx}"


def test_a_tool_is_described_by_its_annotations_and_docstring() -> None:
    assert refund.name == "refund"
    assert refund.description == "Refunds an order.\n\nThe money is back in three days."
    assert refund.parameters == {
        "type": "object",
        "properties": {
            "order": {"type": "string"},
            "amount": {"type": "number"},
            "reason": {"enum": ["broken", "late"], "default": "late"},
        },
        "required": ["order", "amount"],
        "additionalProperties": False,
    }


def test_a_tool_may_have_options() -> None:
    assert (plus.name, plus.timeout) == ("add", 2)
    assert plus.parameters["properties"]["left"]["description"] == "The first"
    assert plus.needs_approval({"left": 11, "right": 1})
    assert not plus.needs_approval({"left": 10, "right": 1})


async def test_a_tool_is_still_a_function() -> None:
    assert await refund("o1", 2.5) == Receipt("o1", 2.5)
    assert plus(1) == 2


@pytest.mark.parametrize("given", ['{"order": "o1", "amount": 5}', {"order": "o1", "amount": 5}])
def test_arguments_are_parsed_from_an_object_or_its_json(given: Any) -> None:
    assert refund.parse(given) == {"order": "o1", "amount": 5.0, "reason": "late"}


@pytest.mark.parametrize("given", ["", " \n", "null", " null ", b"", b" null\n"])
def test_a_model_may_send_nothing_or_null_for_no_arguments(given: Any) -> None:
    @tool
    def ping() -> None: ...

    assert ping.parse(given) == {}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"order": 1, "amount": 2}, r"Expected `str`, got `int` - at `\$\.order`"),
        ({"order": "o1"}, "missing required field `amount`"),
        ("null", "missing required field `order`"),
        ({"order": "o1", "amount": 1, "more": 1}, "unknown field `more`"),
        ({"order": "o1", "amount": 1, "reason": "x"}, r"Invalid enum value 'x' - at `\$\.reason`"),
        ("{", "Input data was truncated"),
        ("[1]", "Expected `object`, got `array`"),
        ("\ud800", "surrogates not allowed"),
        ("[" * 5000, "."),
        (b"\xff", "."),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_a_reason(given: Any, says: str) -> None:
    with pytest.raises(ToolArgumentsInvalid, match=says):
        refund.parse(given)


async def test_pydantic_models_are_parameters() -> None:
    assert set(move.parameters["$defs"]) == {"Address"}
    home = {"street": "a", "number": 2}
    parsed = move.parse({"person": {"name": "Ann", "home": home}, "to": [{"street": "b"}]})
    moved = await move.run(None, parsed)
    assert moved == Person(name="Ann", home=Address(street="b"))
    content, kind = content_of("move", moved, largest=1000)
    assert result_of(move, content, kind) == moved


def test_a_pydantic_model_says_what_is_wrong() -> None:
    with pytest.raises(ToolArgumentsInvalid, match=r"valid integer.*\.number"):
        move.parse({"person": {"name": "Ann", "home": {"street": "a", "number": "x"}}, "to": []})


async def test_a_parameter_may_be_recursive() -> None:
    assert walk.parameters["properties"]["tree"] == {"$ref": "#/$defs/Node"}
    parsed = walk.parse({"tree": {"name": "a", "children": [{"name": "b"}]}})
    assert await walk.run(None, parsed) == 2


@pytest.mark.parametrize("one", [whose, maybe])
async def test_the_context_is_injected_and_no_model_sees_it(one: Any) -> None:
    assert list(one.parameters["properties"]) == ["order"]
    assert await one.run(None, one.parse({"order": "o1"})) in ("o1 of None", "o1 None")
    with pytest.raises(ToolArgumentsInvalid):
        one.parse({"order": "o1", "ctx": {}})


async def test_a_plain_function_runs_in_a_thread() -> None:
    @tool
    def where() -> int:
        return threading.get_ident()

    assert await where.run(None, {}) != threading.get_ident()


async def test_a_plain_function_that_raises_stop_iteration_is_heard_of() -> None:
    """A future can't hold that exception: whoever awaits it would wait for ever."""

    @tool
    def first(of: list[int]) -> int:
        return next(iter(of))

    with pytest.raises(RuntimeError, match="StopIteration"):
        async with asyncio.timeout(5):
            await first.run(None, {"of": []})


async def test_a_tool_may_be_a_method() -> None:
    class Shop:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        @tool
        async def price(self, of: int) -> int:
            """The price."""
            return of * self.factor

    bound = Shop(3).price
    assert (bound.name, list(bound.parameters["properties"])) == ("price", ["of"])
    assert await bound.run(None, bound.parse({"of": 2})) == 6
    assert await bound(2) == 6


def test_defaults_are_not_shared() -> None:
    @tool
    def collect(items: list[int] = [1], at: tuple[int, int] = (0, 0)) -> int:  # noqa: B006
        return len(items)

    assert collect.parse({}) == {"items": [1], "at": (0, 0)}


async def positional(a: int, /) -> None: ...
async def many(*a: int) -> None: ...
async def named(**a: int) -> None: ...
async def untyped(a) -> None: ...  # type: ignore[no-untyped-def]
async def generator(a: int) -> Any:
    yield a


async def unknown(a: Nothing) -> None: ...  # type: ignore[name-defined]  # noqa: F821
async def unspeakable(a: threading.Lock) -> None: ...
def in_thread(ctx: RunContext) -> None: ...
async def größe() -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (positional, "takes a by position only; expected no `/`"),
        (many, r"takes \*a; expected parameters with names"),
        (named, r"takes \*a; expected"),
        (untyped, "has no annotation for a; expected a type"),
        (generator, "is a generator; expected a function that returns"),
        (unknown, "annotation that can't be evaluated .*Nothing"),
        (unspeakable, "parameter that JSON can't carry"),
        (in_thread, "takes the context and is not async"),
        (größe, "a name that models do not accept"),
        (Receipt, "is a StructMeta; expected a function"),
        (1, "is a int; expected a function"),
    ],
)
def test_a_function_that_can_be_no_tool_is_refused(function: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        tool(function)


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_timeout_is_positive(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout is .*; expected seconds from"):
        tool(timeout=timeout)


@pytest.mark.parametrize(
    ("result", "content", "kind"),
    [
        ("text", "text", "text"),
        (None, "null", "json"),
        ({"a": 1}, '{"a":1}', "json"),
        (Receipt("o1", 1.0), '{"order":"o1","amount":1.0}', "json"),
        ([Address(street="a")], '[{"street":"a","number":1}]', "json"),
        (TextPart("a"), [TextPart("a")], "parts"),
        ([TextPart("a")], [TextPart("a")], "parts"),
    ],
)
def test_a_result_becomes_content(result: Any, content: Any, kind: str) -> None:
    assert content_of("t", result, largest=100) == (content, kind)


@pytest.mark.parametrize("result", [object(), {object(): 1}, inspect, float])
def test_a_result_that_json_can_not_carry_is_an_error(
    result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ToolError, match="The result of t can't be encoded"):
        content_of("t", result, largest=100)
    assert "the result of the tool t can't be encoded" in caplog.text
    assert "TypeError: " in caplog.text, "which says the type"


@pytest.mark.parametrize("result", ["x" * 101, {"a": "x" * 100}, [TextPart("x" * 100)]])
def test_a_result_that_is_too_large_is_an_error(result: Any) -> None:
    with pytest.raises(ToolError, match=r"bytes, which is too large.*at most 100"):
        try:
            content_of("t", result, largest=100)
        except ToolError as error:
            raise ToolError(str(error)) from error


class Color(StrEnum):
    RED = "red"


@dataclass
class Rectangle:
    width: int
    height: int


class Point(NamedTuple):
    x: int
    y: int = 0


@dataclass
class Square:
    side: int


@pytest.mark.parametrize(
    ("result", "type_"),
    [
        (Color.RED, Color),
        ({"a": [1, None]}, dict[str, object]),
        ([1, "a"], object),
        ([1, 2], Iterable[int]),
        ({1: "a"}, dict[int, str]),
        (Point(1), Point),
        (Address(street="a"), Address | None),
        (None, Receipt | None),
        (Decimal("1.10"), Decimal),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime),
        (b"a", bytes),
        ("\N{EURO SIGN}" * 30, str),
        (TextPart("a"), TextPart),
        ([TextPart("a")], list[TextPart]),
    ],
)
def test_a_recorded_result_is_what_the_tool_returned(result: Any, type_: Any) -> None:
    async def returning() -> Any: ...

    returning.__annotations__["return"] = type_
    content, kind = content_of("returning", result, largest=100)
    recorded = msgspec.json.decode(msgspec.json.encode(content), type=Content)
    again = result_of(tool(returning), recorded, kind)
    assert (type(again), again) == (type(result), result)


def test_a_recorded_result_of_a_type_that_can_not_be_read_is_plain_data() -> None:
    async def either() -> Square | Rectangle:
        return Square(2)

    content, kind = content_of("either", Square(2), largest=100)
    assert result_of(tool(either), content, kind) == {"side": 2}


def test_a_recorded_result_has_the_annotated_type() -> None:
    receipt = Receipt("o1", 1.0)
    content, kind = content_of("refund", receipt, largest=100)
    assert result_of(refund, content, kind) == receipt
    assert result_of(refund, "text", "text") == "text"
    with pytest.raises(ToolError, match="does not fit"):
        result_of(refund, "[]", "json")
