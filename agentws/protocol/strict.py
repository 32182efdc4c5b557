"""Strict decoding of untrusted JSON: input becomes typed data, or one clear BadRequest.

msgspec already refuses NaN, infinities, numbers out of range, a byte order mark and trailing
garbage. This module also refuses U+0000 (Postgres can't store it, so no store may hold it), and
values that are nested too deeply or have too many parts (denial of service).
"""

from __future__ import annotations

import math
from typing import Any, Final, TypeVar, get_origin

import msgspec

from ..errors import BadRequest

MAX_DEPTH: Final = 32
MAX_NODES: Final = 10_000

T = TypeVar("T")


def decode_strictly(decoder: msgspec.json.Decoder[T], data: bytes | str, what: str) -> T:
    """Decodes ``data``. Raises BadRequest that says what is wrong; ``what`` names the input."""
    try:
        value = decoder.decode(data)
    except msgspec.ValidationError as error:
        wanted = expected_of(decoder.type)
        raise BadRequest(f"This {what} is not valid: {error}.", expected=wanted) from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadRequest(f"This {what} is not valid JSON.", expected="one JSON object") from error
    except RecursionError as error:
        raise _too_deep(what) from error
    if "\\u0000" in data if isinstance(data, str) else b"\\u0000" in data:
        check_value(msgspec.to_builtins(value), what)
    return value


def expected_of(kind: Any) -> str | None:
    """What a value of that type is, for an error: the members of an object, the required first."""
    if get_origin(kind) is list:
        return "an array of objects"
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return None
    needed: list[str] = []
    others: list[str] = []
    for field in msgspec.structs.fields(kind):
        (needed if field.required else others).append(field.encode_name)
    parts = [f"with {', '.join(needed)}"] if needed else []
    parts += [f"optionally with {', '.join(others)}"] if others else []
    return f"an object {', '.join(parts)}".strip()


def check_value(value: Any, what: str) -> None:
    """Checks a JSON-like ``value``: depth, number of parts, finite numbers, no U+0000.

    Raises BadRequest. Not recursive, so that a hostile value can't exhaust the call stack.
    """
    pending: list[tuple[Any, int]] = [(value, 0)]
    nodes = 0
    while pending:
        node, depth = pending.pop()
        nodes += 1
        if depth > MAX_DEPTH:
            raise _too_deep(what)
        if nodes > MAX_NODES:
            raise BadRequest(f"This {what} has too many parts.", expected=f"at most {MAX_NODES}")
        match node:
            case str():
                if "\x00" in node:
                    raise BadRequest(f"This {what} contains U+0000.", expected="text without it")
            case float():
                if not math.isfinite(node):
                    raise BadRequest(
                        f"This {what} contains NaN or an infinite number.",
                        expected="numbers of JSON",
                    )
            case dict():
                pending.extend((part, depth + 1) for pair in node.items() for part in pair)
            case list() | tuple():
                pending.extend((part, depth + 1) for part in node)
            case _:
                pass


def check_finite(value: Any) -> None:
    """Raises ValueError for NaN and infinite numbers in builtin types: JSON would have ``null``."""
    pending = [value]
    while pending:
        match pending.pop():
            case float(number) if not math.isfinite(number):
                raise ValueError(f"{number} is no number in JSON")
            case dict() as parts:
                pending += parts.values()
            case list() | tuple() as parts:
                pending += parts
            case _:
                pass


def _too_deep(what: str) -> BadRequest:
    return BadRequest(f"This {what} is nested too deeply.", expected=f"at most {MAX_DEPTH} levels")
