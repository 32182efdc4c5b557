"""What ``Annotated`` says of a tool's parameter, as msgspec understands it.

msgspec takes its own ``Meta`` and ignores all else. People write a text, or Pydantic's ``Field``,
for the description that the model reads and for the bounds that arguments must keep.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, get_args, get_origin

from msgspec import Meta

_BOUNDS: Final = ("ge", "gt", "le", "lt", "max_length", "min_length", "multiple_of", "pattern")


def is_field(value: Any) -> bool:
    """Whether it is what Pydantic's ``Field()`` returns. Pydantic is not imported."""
    return type(value).__name__ == "FieldInfo" and hasattr(value, "metadata")


def understood(type_: Any) -> Any:
    """``type_`` with texts, bounds and Pydantic's fields in its ``Annotated`` as ``Meta``.

    Other metadata is ignored, as ``Annotated`` asks for. Raises TypeError for a check of Pydantic
    that msgspec can't make.
    """
    if get_origin(type_) is not Annotated:
        return type_
    base, *metadata = get_args(type_)
    for one in metadata:
        if (meta := _meta(one)) is not None:
            base = Annotated[base, meta]
    return base


def _meta(one: Any) -> Meta | None:
    if isinstance(one, Meta):
        return one
    if isinstance(one, str):
        return Meta(description=one)
    if is_field(one):
        return _meta_of_field(one)
    bounds = _bounds(one)
    if not bounds and type(one).__module__.startswith("pydantic"):
        raise TypeError(f"{type(one).__name__} is no check that msgspec can make")
    return Meta(**bounds) if bounds else None


def _meta_of_field(field: Any) -> Meta:
    said: dict[str, Any] = {"title": field.title, "description": field.description}
    for one in field.metadata:
        bounds = _bounds(one)
        if not bounds:
            raise TypeError(f"{one!r:.100} is no check that msgspec can make")
        said.update(bounds)
    return Meta(**said)


def _bounds(one: Any) -> dict[str, Any]:
    """The bounds that an object of annotated-types or Pydantic states by its attributes."""
    said = {name: getattr(one, name, None) for name in _BOUNDS}
    return {name: bound for name, bound in said.items() if bound is not None}
