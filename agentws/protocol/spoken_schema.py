"""The value that a text means for a JSON Schema: of a question whose type is one of several."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

YES: Final = frozenset({"yes", "y", "ok", "true"})
NO: Final = frozenset({"no", "n", "false"})
NOTHING: Final = frozenset({"none", "null", "nothing"})

MAX_DEPTH: Final = 8
"""How many references and alternatives are looked through."""

Read = tuple[Any] | None
"""The value that was read, which may be ``None``; ``None`` if the text is no value."""

_IS_A: Final[Mapping[str, Callable[[Any], bool]]] = {
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) in (int, float) and math.isfinite(value),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def read_as(schema: Any, text: str, *, root: Mapping[str, Any], depth: int = 0) -> Read:
    """The value of ``schema`` that ``text`` means, as a person writes it or as JSON.

    References are to ``$defs`` of ``root``. Text is the last of the types that it is tried as.
    """
    if depth > MAX_DEPTH or not isinstance(schema, Mapping):
        return None
    if (name := schema.get("$ref")) is not None:
        target = root.get("$defs", {}).get(str(name).rpartition("/")[2])
        return read_as(target, text, root=root, depth=depth + 1)
    if isinstance(allowed := schema.get("enum"), list):
        return next(((one,) for one in allowed if _written(one) == text.casefold()), None)
    if isinstance(several := schema.get("anyOf", schema.get("oneOf")), list):
        tried = (read_as(one, text, root=root, depth=depth + 1) for one in _text_last(several))
        return next((one for one in tried if one is not None), None)
    kinds = schema.get("type", "string")
    if isinstance(kinds, list):
        several = [{**schema, "type": kind} for kind in kinds]
        return read_as({"anyOf": several}, text, root=root, depth=depth + 1)
    return _of_type(kinds, text)


def _of_type(kind: str, text: str) -> Read:
    said = text.casefold()
    match kind:
        case "string":
            return (text,)
        case "boolean":
            return (said in YES,) if said in YES or said in NO else None
        case "null":
            return (None,) if said in NOTHING else None
        case _:
            read = _json(text)
            fits = _IS_A.get(kind)
            return read if read and fits and fits(read[0]) else None


def _text_last(several: list[Any]) -> list[Any]:
    """Any text is a string: what else may be meant comes first."""
    return sorted(several, key=lambda one: isinstance(one, Mapping) and one.get("type") == "string")


def _written(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text.casefold()


def _json(text: str) -> Read:
    try:
        return (msgspec.json.decode(text),)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
