"""Types as JSON Schema, and JSON values as values of types: by msgspec, and by Pydantic's models.

Pydantic is not imported: its models describe and validate themselves.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from ..protocol.strict import check_finite
from ..protocol.text import plain

T = TypeVar("T")

_REFERENCE: Final = "#/$defs/{name}"


def schema_of(type_: Any) -> dict[str, Any]:
    """The JSON Schema of ``type_``. Raises TypeError for a type that JSON can't carry."""
    models: dict[str, Any] = {}

    def describe(other: type) -> dict[str, Any]:
        if other is object:
            # msgspec takes an empty schema for none.
            return {"description": "Any JSON value."}
        if not hasattr(other, "model_json_schema"):
            # How a hook tells msgspec that it does not know a type either.
            raise NotImplementedError
        schema: dict[str, Any] = other.model_json_schema(ref_template="#/$defs/{model}")
        models.update(schema.pop("$defs", {}))
        return schema

    try:
        (schema,), defined = msgspec.json.schema_components(
            [type_], schema_hook=describe, ref_template=_REFERENCE
        )
    except (NotImplementedError, RecursionError) as error:
        raise TypeError(f"{type_!r} has no JSON Schema") from error
    return _whole(schema, {**defined, **models})


def _whole(schema: dict[str, Any], defined: dict[str, Any]) -> dict[str, Any]:
    """``schema`` with what it refers to; a schema that only refers to another one becomes that."""
    name = str(schema.get("$ref", "")).removeprefix(_REFERENCE.format(name=""))
    found = defined.get(name) if set(schema) == {"$ref"} else None
    if found is not None:
        recursive = schema["$ref"] in str({**defined, name: found})
        rest = defined if recursive else {one: defined[one] for one in defined if one != name}
        schema, defined = found, rest
    return {**schema, "$defs": defined} if defined else dict(schema)


def converted(value: Any, type_: type[T]) -> T:
    """The JSON-like ``value`` as a ``type_``. Raises ValueError that says why it is none."""
    try:
        return msgspec.convert(value, type_, str_keys=True, dec_hook=_validate)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from error


def decoded(data: str | bytes, type_: type[T]) -> T:
    """The JSON in ``data`` as a ``type_``. Raises ValueError that says why it is none."""
    try:
        return msgspec.json.decode(data, type=type_, dec_hook=_validate)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _validate(type_: type[Any], value: Any) -> Any:
    if type_ is object:
        return value
    if not hasattr(type_, "model_validate"):
        # As in schema_of: msgspec then raises its own error.
        raise NotImplementedError
    try:
        return type_.model_validate(value)
    except ValueError as error:
        details: list[dict[str, Any]] = getattr(error, "errors", list)()
        raise ValueError("; ".join(map(_explained, details)) or str(error)) from error


def _explained(detail: dict[str, Any]) -> str:
    """One of the errors that Pydantic lists, without the input."""
    where = "".join(f".{part}" for part in detail.get("loc", ()))
    return f"{detail.get('msg', 'not valid')} - at `${where}`"


def has_schema(type_: Any) -> bool:
    """Whether JSON can be read as a ``type_``."""
    try:
        schema_of(type_)
    except TypeError:
        return False
    return True


def encoded(value: Any) -> bytes:
    """``value`` as JSON. Raises TypeError or ValueError for a value that JSON can't carry."""
    dump = getattr(value, "model_dump_json", None)
    if dump is not None and not isinstance(value, type):
        data = str(dump()).encode()
    else:
        data = msgspec.json.encode(value, enc_hook=_plain)
    if b"null" in data:
        # As which NaN and infinite numbers are encoded.
        check_finite(msgspec.to_builtins(value, enc_hook=_plain))
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    dump = getattr(value, "model_dump", None)
    if dump is None or isinstance(value, type):
        raise TypeError(f"a {type(value).__name__} can't be encoded as JSON")
    return dump(mode="json")
