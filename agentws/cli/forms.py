"""A form at a terminal: the simple fields of a question's schema, asked one after the other.

The server checks the answer; a form only helps to write one that fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from ..protocol.messages import CLIENT_TOOL, Interrupt, told_in
from ..protocol.spoken_schema import NO, YES

MOST: Final = 20
"""More fields are a document, not a form: it is answered with JSON."""
_DEEPEST: Final = 10
"""References that are followed to the schema of one field."""


class Field(NamedTuple):
    """One value of a form."""

    name: str
    schema: Mapping[str, Any]
    required: bool

    @property
    def choices(self) -> list[Any]:
        """The values that are allowed; empty where they are not listed."""
        return [self.schema["const"]] if "const" in self.schema else self.schema.get("enum", [])

    @property
    def question(self) -> str:
        """What is asked for it, as one line."""
        title = self.schema.get("title")
        label = title if isinstance(title, str) else self.name
        kind = " or ".join(map(_text, self.choices)) or _KINDS[self.schema["type"]].label
        described = self.schema.get("description")
        more = f": {described}" if isinstance(described, str) else ""
        return f"{label} ({kind}{self._if_empty}){more}"

    @property
    def _if_empty(self) -> str:
        if self.required:
            return ""
        default = self.schema.get("default")
        return "; may be empty" if default is None else f"; empty: {_text(default)}"

    def read(self, said: str) -> Any:
        """The value that a line gives. Raises ValueError, with a sentence, if it gives none."""
        if self.choices:
            named = {_text(one).casefold(): one for one in self.choices}
            if said.casefold() not in named:
                raise ValueError(f"expected {' or '.join(map(_text, self.choices))}")
            return named[said.casefold()]
        value = _KINDS[self.schema["type"]].read(said)
        for keyword, (fits, sentence) in _BOUNDS.items():
            bound = self.schema.get(keyword)
            if isinstance(bound, int | float) and not fits(value, bound):
                raise ValueError(sentence.format(bound))
        return value


class _Kind(NamedTuple):
    label: str
    read: Callable[[str], Any]


def _integer(said: str) -> int:
    try:
        return int(said)
    except ValueError:
        raise ValueError("expected a whole number") from None


def _number(said: str) -> float | int:
    try:
        value = msgspec.json.decode(said, type=float | int)
    except (msgspec.MsgspecError, UnicodeError):
        raise ValueError("expected a number") from None
    return value


def _boolean(said: str) -> bool:
    word = said.casefold()
    if word not in YES | NO:
        raise ValueError("expected y or n")
    return word in YES


_KINDS: Final = {
    "string": _Kind("text", str),
    "integer": _Kind("a whole number", _integer),
    "number": _Kind("a number", _number),
    "boolean": _Kind("y or n", _boolean),
}
_BOUNDS: Final[dict[str, tuple[Callable[[Any, float], bool], str]]] = {
    "minimum": (lambda value, bound: value >= bound, "expected at least {}"),
    "maximum": (lambda value, bound: value <= bound, "expected at most {}"),
    "minLength": (lambda value, bound: len(value) >= bound, "expected at least {} characters"),
    "maxLength": (lambda value, bound: len(value) <= bound, "expected at most {} characters"),
}


class Form:
    """The answer to a question while it is written, field by field."""

    def __init__(self, fields: list[Field]) -> None:
        self._fields = fields
        self._values: dict[str, Any] = {}
        self._at = 0
        self._whole: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<Form at {self._at} of {len(self._fields)}>"

    @property
    def question(self) -> str:
        """What the next line answers."""
        return self._fields[self._at].question

    @property
    def answer(self) -> dict[str, Any] | None:
        """The whole answer; ``None`` while a field is missing."""
        if self._whole is not None:
            return self._whole
        return dict(self._values) if self._at == len(self._fields) else None

    def take(self, line: str) -> None:
        """Takes the value of the next field, or as the first line a JSON object for all of them.

        Raises ValueError with a sentence for a value that does not fit; the field is then asked for
        again.
        """
        field, said = self._fields[self._at], line.strip()
        if self._at == 0:
            self._whole = _json_object(said)
        if self._whole is None:
            if said or (field.required and field.schema.get("type") == "string"):
                self._values[field.name] = field.read(said)
            elif field.required:
                raise ValueError(f"{field.name} is needed")
            self._at += 1


def form_of(question: Interrupt) -> Form | None:
    """The form that answers ``question``; ``None`` for one that is answered otherwise."""
    if question.reason in ("tool_call", CLIENT_TOOL) or told_in(question.metadata).get("choices"):
        return None
    fields = fields_of(question.response_schema or {})
    return Form(fields) if fields else None


def fields_of(schema: Mapping[str, Any]) -> list[Field]:
    """The properties of an object; none if there are too many or one of them is not simple."""
    root = _resolved(schema, schema)
    properties, required = root.get("properties"), root.get("required")
    if not isinstance(properties, dict) or root.get("type", "object") != "object":
        return []
    needed = required if isinstance(required, list) else []
    fields = [
        Field(name, _resolved(one, schema), name in needed) for name, one in properties.items()
    ]
    simple = len(fields) <= MOST and all(_is_simple(field.schema) for field in fields)
    return fields if simple else []


def _resolved(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Mapping[str, Any]:
    """Follows a reference inside the schema, and takes "this, or null" for "this"."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return {}
    reference, some = schema.get("$ref"), schema.get("anyOf")
    if isinstance(reference, str):
        target = (root.get("$defs") or {}).get(reference.removeprefix("#/$defs/"))
        return _resolved(_merged(target, schema, "$ref"), root, depth + 1)
    if isinstance(some, list):
        others = [one for one in some if one != {"type": "null"}]
        if len(others) == 1:
            return _resolved(_merged(others[0], schema, "anyOf"), root, depth + 1)
    return schema


def _merged(inner: Any, outer: dict[str, Any], without: str) -> Any:
    own = {name: value for name, value in outer.items() if name != without}
    return {**inner, **own} if isinstance(inner, dict) else None


def _is_simple(schema: Mapping[str, Any]) -> bool:
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if choices is not None:
        return isinstance(choices, list) and bool(choices) and not any(map(_is_nested, choices))
    kind = schema.get("type")
    return isinstance(kind, str) and kind in _KINDS


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict | list)


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
