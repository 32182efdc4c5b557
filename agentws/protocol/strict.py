"""Strict decoding: what came from a peer becomes typed data or one clear BadRequest.

msgspec already refuses NaN, infinities, numbers out of range, a byte order mark and trailing
garbage. Refused here as well: U+0000 (Postgres can't keep it, so no store may), and nesting or
node counts that only serve to exhaust whoever walks the value later.
"""

from __future__ import annotations

import math
from typing import Any, Final, TypeVar

import msgspec

from ..errors import BadRequest

MAX_DEPTH: Final = 32
MAX_NODES: Final = 10_000

T = TypeVar("T")


def decode_strictly(decoder: msgspec.json.Decoder[T], data: bytes | str, what: str) -> T:
    """``data`` as ``decoder`` reads it; raises BadRequest saying what was expected of ``what``."""
    try:
        value = decoder.decode(data)
    except msgspec.ValidationError as error:
        raise BadRequest(f"This {what} does not fit: {error}.") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadRequest(f"This {what} is not valid JSON.", expected="one JSON object") from error
    except RecursionError as error:
        raise _too_deep(what) from error
    if "\\u0000" in data if isinstance(data, str) else b"\\u0000" in data:
        check_value(msgspec.to_builtins(value), what)
    return value


def check_value(value: Any, what: str) -> None:
    """Raises BadRequest unless ``value`` (JSON-like) is shallow, small, finite and free of U+0000.

    Walks with a list instead of the call stack, so that a hostile value can't exhaust that.
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
                    raise BadRequest(f"This {what} contains a number that JSON has not.")
            case dict():
                pending.extend((part, depth + 1) for pair in node.items() for part in pair)
            case list() | tuple():
                pending.extend((part, depth + 1) for part in node)
            case _:
                pass


def _too_deep(what: str) -> BadRequest:
    return BadRequest(f"This {what} is nested too deeply.", expected=f"at most {MAX_DEPTH} levels")
