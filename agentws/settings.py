"""The kinds of numbers that a host may set, and the check of a setting against its kind.

A kind is a type with msgspec's bounds, and with a description for the error. Settings are checked
when they are given: a negative, endless or misspelled one would otherwise be found by a user.
"""

from __future__ import annotations

import functools
from types import NoneType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

_LONGEST: Final = 1e10
"""Seconds, some 300 years: what timers and timestamps can take."""
_LARGEST: Final = 2**53
"""Above it, JSON and JavaScript do not keep whole numbers exact."""

Seconds = Annotated[float, Meta(ge=0.001, le=_LONGEST, description="seconds from 0.001 to 1e10")]
Delay = Annotated[float, Meta(ge=0, le=_LONGEST, description="seconds from 0 to 1e10")]
Timeout = Annotated[float, Meta(ge=0.001, le=86_400, description="seconds from 0.001 to 86400")]
"""Of one call to a server, which takes milliseconds as a small number; at most a day."""
Rate = Annotated[float, Meta(gt=0, le=_LARGEST, description="a number above 0, at most 2**53")]
Port = Annotated[int, Meta(ge=0, le=65_535, description="a whole number from 0 to 65535")]
Count = Annotated[int, Meta(ge=1, le=_LARGEST, description="a whole number from 1 to 2**53")]
CountOrZero = Annotated[int, Meta(ge=0, le=_LARGEST, description="a whole number from 0 to 2**53")]
"""A count where 0 means that there are none."""


def check_setting(name: str, value: object, kind: Any) -> None:
    """Raises TypeError for a ``value`` of another type, ValueError for one out of bounds.

    ``kind`` is one of this module, a union of one with ``None``, or a ``Literal``.
    """
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        comparable = str if get_origin(kind) is Literal else int | float
        fits = isinstance(value, comparable) and not isinstance(value, bool)
        error = ValueError if fits else TypeError
        raise error(f"{name} is {value!r:.100}; expected {described(kind)}") from None


def check_settings(owner: msgspec.Struct) -> None:
    """Checks every field of a struct of settings, as its ``__post_init__``."""
    for field in _fields(type(owner)):
        check_setting(field.name, getattr(owner, field.name), field.type)


@functools.cache
def _fields(owner: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Kept, as msgspec evaluates every annotation of the class to answer."""
    return msgspec.structs.fields(owner)


def described(kind: Any) -> str:
    """What a value of ``kind`` is, in words."""
    arguments = get_args(kind)
    if NoneType in arguments:
        return " or ".join("None" if each is NoneType else described(each) for each in arguments)
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, arguments))
    meta: tuple[Meta, ...] = getattr(kind, "__metadata__", ())
    return str(meta[0].description) if meta else str(kind)
