"""Inspects a callable before it is called: what it returns, and which arguments it takes."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Literal

from ..store import SessionInfo
from .agent import Agent
from .run_context import RunContext

Kind = Literal["async generator", "generator", "coroutine"]
ASYNC_GENERATOR: Final = "async generator"
GENERATOR: Final = "generator"
COROUTINE: Final = "coroutine"


class Annotation(Enum):
    """What a callable is by its type annotations."""

    FACTORY = "takes a SessionInfo, or returns an Agent"
    AGENT = "returns an async iterator"
    CONTEXT = "takes a RunContext"
    TEXT = "returns text"


def kind_of(called: Any) -> Kind | None:
    """What a call returns, as far as can be told; ``None`` for classes and plain functions.

    Looks through ``functools.partial``, methods, objects with ``__call__``, and decorators that
    use ``functools.wraps``. A decorator counts as what it wraps only if that is an async
    generator function: it may turn any other function into one.
    """
    function = _function_of(called)
    if inspect.isasyncgenfunction(function):
        return ASYNC_GENERATOR
    if inspect.isgeneratorfunction(function):
        return GENERATOR
    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is not None and kind_of(wrapped) is ASYNC_GENERATOR:
        return ASYNC_GENERATOR
    return COROUTINE if inspect.iscoroutinefunction(function) else None


def _function_of(called: Any) -> Any:
    """The function behind a method, a partial, or an object with ``__call__``."""
    while True:
        if isinstance(called, functools.partial):
            called = called.func
        elif isinstance(called, staticmethod | classmethod) or inspect.ismethod(called):
            called = called.__func__
        elif isinstance(called, type) or inspect.isroutine(called):
            return called
        elif hasattr(called, "__wrapped__") or not inspect.isfunction(type(called).__call__):
            return called
        else:
            called = type(called).__call__


def arguments_of(called: Callable[..., Any], *, fewest: int = 0) -> int | None:
    """How many arguments ``called`` can be given, 0 or 1; ``None`` if it needs others.

    1 for a function of ``*args``: a decorator passes them on.
    """
    signature = _signature_of(called)
    if signature is None:
        return 0
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if inspect.Parameter.VAR_POSITIONAL in kinds and not isinstance(called, type):
        fewest = 1
    for count in range(fewest, 2):
        try:
            signature.bind(*[None] * count)
        except TypeError:
            continue
        return count
    return None


def annotation_of(called: Callable[..., Any]) -> Annotation | None:
    """What the type annotations of ``called`` say; ``None`` without annotations, or with others."""
    signature = _signature_of(called)
    if signature is None:
        return None
    first = next(iter(signature.parameters.values()), None)
    returns = _RETURNED.get(_class_name(signature.return_annotation))
    if returns is None and first is not None:
        return _TAKEN.get(_class_name(first.annotation))
    return returns


def takes_another(called: Callable[..., Any]) -> bool:
    """Whether the first parameter is annotated with a class of which neither a SessionInfo nor, for
    a function, a RunContext is an instance. False where the annotation can't be evaluated.
    """
    try:
        signature = inspect.signature(called, eval_str=True)
        wanted = next(iter(signature.parameters.values())).annotation
        if wanted in (Any, inspect.Parameter.empty) or not isinstance(wanted, type):
            return False
        given = (SessionInfo,) if isinstance(called, type) else (SessionInfo, RunContext)
        # A Protocol that is not checked at runtime raises TypeError.
        return not any(issubclass(one, wanted) or issubclass(wanted, one) for one in given)
    except Exception:
        # An annotation may be any expression, with names that only a type checker imports.
        return False


_RETURNED: Final = {
    "str": Annotation.TEXT,
    "Agent": Annotation.FACTORY,
    "AsyncIterator": Annotation.AGENT,
    "AsyncIterable": Annotation.AGENT,
    "AsyncGenerator": Annotation.AGENT,
}
_TAKEN: Final = {"SessionInfo": Annotation.FACTORY, "RunContext": Annotation.CONTEXT}
_DOTTED_NAME: Final = re.compile(r"(?:\w+\.)*(\w+)")


def _class_name(annotation: Any) -> str:
    """The name of the class that an annotation names; the annotation may be unevaluated text."""
    if isinstance(annotation, type) and issubclass(annotation, Agent):
        return "Agent"
    text = getattr(annotation, "__forward_arg__", annotation)
    if not isinstance(text, str):
        text = getattr(annotation, "__name__", None) or getattr(annotation, "_name", None) or ""
    name = _DOTTED_NAME.match(text.strip("'\" "))
    return "" if name is None else name[1]


def _signature_of(called: Callable[..., Any]) -> inspect.Signature | None:
    """The signature; ``None`` if it has none, as some callables that are written in C."""
    try:
        if sys.version_info >= (3, 14):
            import annotationlib

            # An annotation may use a name that is imported for type checking only.
            unevaluated = annotationlib.Format.FORWARDREF
            return inspect.signature(called, annotation_format=unevaluated)
        return inspect.signature(called)
    except (TypeError, ValueError):
        return None


def name_of(called: Any) -> str:
    return str(getattr(_function_of(called), "__qualname__", repr(called)))


def wants_the_context(error: AttributeError) -> bool:
    """Whether ``error`` comes from reading an attribute of RunContext on a SessionInfo."""
    return isinstance(error.obj, SessionInfo) and hasattr(RunContext, error.name or "")
