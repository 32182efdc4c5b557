"""RFC 6902, applied to plain JSON values without changing the value it is given."""

from __future__ import annotations

import copy
from typing import Any, Final

from ..errors import BadRequest

_OPERATIONS: Final = "add, remove, replace, move, copy or test"


def apply_patch(document: Any, patch: list[dict[str, Any]]) -> Any:
    """``document`` after ``patch``, all of it or (raising BadRequest) none of it."""
    result = copy.deepcopy(document)
    for operation in patch:
        try:
            result = _apply(result, operation)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise BadRequest(f"This patch does not apply: {operation.get('op')!r}.") from error
    return result


def _apply(document: Any, operation: dict[str, Any]) -> Any:
    path = _tokens(operation["path"])
    match operation["op"]:
        case "add":
            return _add(document, path, copy.deepcopy(operation["value"]))
        case "remove":
            return _remove(document, path)
        case "replace":
            return _replace(document, path, copy.deepcopy(operation["value"]))
        case "move":
            source = _tokens(operation["from"])
            value = _get(document, source)
            return _add(_remove(document, source), path, value)
        case "copy":
            return _add(document, path, copy.deepcopy(_get(document, _tokens(operation["from"]))))
        case "test":
            if not _same(_get(document, path), operation["value"]):
                raise ValueError("test failed")
            return document
        case other:
            raise BadRequest(f"There is no patch operation {other!r}.", expected=_OPERATIONS)


def _same(one: Any, other: Any) -> bool:
    """JSON's equality: unlike Python's, ``true`` is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _tokens(pointer: str) -> list[str]:
    """RFC 6901: ``~1`` is a slash, ``~0`` a tilde, in that order."""
    if pointer == "":
        return []
    if not pointer.startswith("/"):
        raise ValueError("a pointer begins with a slash")
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/")]


def _index(items: list[Any], token: str, *, limit: int) -> int:
    if not (token == "0" or (token.isascii() and token.isdigit() and token[0] != "0")):
        raise ValueError("not an array index")
    index = int(token)
    if index > limit:
        raise IndexError(token)
    return index


def _get(document: Any, path: list[str]) -> Any:
    for token in path:
        if isinstance(document, list):
            document = document[_index(document, token, limit=len(document) - 1)]
        else:
            document = document[token]
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, token = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        end = len(parent)
        parent.insert(end if token == "-" else _index(parent, token, limit=end), value)
    else:
        parent[token] = value
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        return None
    parent, token = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        del parent[_index(parent, token, limit=len(parent) - 1)]
    else:
        del parent[token]
    return document


def _replace(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, token = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent[_index(parent, token, limit=len(parent) - 1)] = value
    elif token in parent:
        parent[token] = value
    else:
        raise KeyError(token)
    return document
