"""A tool: a Python function that an agent, or the model it uses, may call.

    @tool
    async def refund(order: str, amount: float) -> Receipt:
        "Refunds an order."

Its JSON Schema comes from its annotations, its description from its docstring. Arguments are
validated before it is called.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import typing
from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace, UnionType
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, Union, overload

import msgspec

from ..errors import ToolArgumentsInvalid, ToolError
from ..settings import Seconds, check_setting
from .annotated import is_field, understood
from .context import SessionContext
from .schemas import converted, decoded, schema_of

logger: Final = logging.getLogger("agentws.run")

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Approval = bool | Callable[[Any], bool]
"""Whether a person must approve each call; or a callable that says so of a call's arguments, which
it gets as an object with one attribute for each."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CONTEXT: Final = re.compile(r"(?:\w+\.)*RunContext(?:\s*\|\s*None)?")


class Tool(msgspec.Struct, Generic[P, R_co], frozen=True, eq=False, kw_only=True):
    """A function with what a model must know of it. Calling it calls the function.

    Made by :func:`tool`. As a class attribute it is a method: ``self.refund`` is a tool that is
    bound to the instance.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    """The arguments as a JSON Schema of an object."""
    approve: Approval = False
    timeout: float | None = None
    """Seconds that a call may take, without the time in which a person is asked."""
    function: Callable[P, Any]
    arguments: type[Any]
    """A msgspec struct of the arguments."""
    context: tuple[str, ...] = ()
    """The parameters that are given the context of the run; no model sees them."""
    is_method: bool = False

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self.function(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Tool[P, R_co]: ...

    @overload
    def __get__(
        self: Tool[Concatenate[Any, Q], R], instance: object, owner: type[Any]
    ) -> Tool[Q, R]: ...

    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        if instance is None or not self.is_method:
            return self
        bound = self.function.__get__(instance, owner)
        return msgspec.structs.replace(self, function=bound, is_method=False)

    def parse(self, arguments: Mapping[str, Any] | str | bytes) -> dict[str, Any]:
        """Validated arguments, from an object or its JSON; with the defaults of those left out.

        Blank text and ``null``, which some models send for no arguments, are an empty object.
        Raises ToolArgumentsInvalid, whose sentence says what is wrong: a model can correct it; and
        ToolError if a type of the tool raises an error of its own.
        """
        try:
            if isinstance(arguments, str | bytes):
                given = decoded(_given(arguments), self.arguments)
            else:
                given = converted(arguments, self.arguments)
        except ValueError as error:
            raise ToolArgumentsInvalid(
                f"The arguments of {self.name} are not valid: {error}."
            ) from error
        except BaseException as error:
            logger.error("a type of the tool %s raised", self.name, exc_info=error)
            raise ToolError() from error
        return {name: getattr(given, name) for name in self.arguments.__struct_fields__}

    def needs_approval(self, parsed: Mapping[str, Any]) -> bool:
        """Whether a person must approve a call with these arguments."""
        if callable(self.approve):
            return bool(self.approve(self.arguments(**parsed)))
        return self.approve

    async def run(self, ctx: SessionContext | None, parsed: Mapping[str, Any]) -> Any:
        """Calls the function; one that is not ``async`` runs in a worker thread.

        ``parsed`` is what :meth:`parse` returned. Raises what the function raises.
        """
        given: dict[str, Any] = {**parsed, **dict.fromkeys(self.context, ctx)}
        function: Callable[..., Any] = self.function
        if inspect.iscoroutinefunction(function):
            return await function(**given)
        result = await asyncio.to_thread(_in_thread, function, given)
        return await result if inspect.isawaitable(result) else result

    @property
    def returns(self) -> Any:
        """The annotated type of the result; ``Any`` if there is none, or it can't be evaluated."""
        annotations = getattr(self.function, "__annotations__", {})
        try:
            found = _evaluated({"return": annotations.get("return", Any)}, self.function)
        except (NameError, TypeError, SyntaxError, AttributeError):
            return Any
        return found["return"]


@overload
def tool(function: Callable[P, Awaitable[R]], /) -> Tool[P, R]: ...


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...


@overload
def tool(
    *, name: str | None = None, approve: Approval = False, timeout: float | None = None
) -> _Decorator: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    approve: Approval = False,
    timeout: float | None = None,
) -> Any:
    """Makes a :class:`Tool` of a function: as ``@tool``, or as ``@tool(approve=True)``.

    ``approve``: whether a person must approve a call before it is made, or a callable that says so
    of the call's arguments. ``timeout``: the seconds that a call may take. A parameter whose type
    is RunContext is given the context of the run. Raises TypeError for a function that can't be a
    tool.
    """
    decorator = _Decorator(name, approve, timeout)
    return decorator if function is None else decorator(function)


class _Decorator:
    """Makes tools with the same options."""

    def __init__(self, name: str | None, approve: Approval, timeout: float | None) -> None:
        check_setting("timeout", timeout, Seconds | None)
        if not isinstance(approve, bool) and not callable(approve):
            # Something false, such as None, would let every call pass.
            raise TypeError(f"approve is {approve!r:.100}; expected True, False or a callable")
        self._name, self._approve, self._timeout = name, approve, timeout

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Tool[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Tool[P, R]: ...

    def __call__(self, function: Callable[..., Any], /) -> Any:
        name = self._name or str(getattr(function, "__name__", function))
        _check_function(name, function)
        parameters = list(inspect.signature(function).parameters.values())
        is_method = bool(parameters) and parameters[0].name == "self"
        taken = parameters[1:] if is_method else parameters
        types = _types(name, function, taken)
        context = tuple(one for one, type_ in types.items() if type_ is _INJECTED)
        if context and not inspect.iscoroutinefunction(function):
            raise _refusal(name, "takes the context and is not async", "`async def`")
        arguments = _struct(name, taken, types)
        return Tool(
            name=name,
            description=inspect.getdoc(function) or "",
            parameters=_parameters(name, arguments),
            approve=self._approve,
            timeout=self._timeout,
            function=function,
            arguments=arguments,
            context=context,
            is_method=is_method,
        )


def _given(arguments: str | bytes) -> str | bytes:
    nothing = ("", "null") if isinstance(arguments, str) else (b"", b"null")
    return "{}" if arguments.strip() in nothing else arguments


_INJECTED: Final = object()


def _refusal(name: str, what: str, expected: str) -> TypeError:
    return TypeError(f"tool {name!r} {what}; expected {expected}")


def _check_function(name: str, function: Any) -> None:
    if isinstance(function, classmethod | staticmethod) or not inspect.isroutine(function):
        raise _refusal(name, f"is a {type(function).__name__}", "a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise _refusal(name, "is a generator", "a function that returns its result")
    if not _NAME.fullmatch(name):
        raise _refusal(name, "has a name that models do not accept", "1 to 64 of A-Z a-z 0-9 _ -")


def _types(
    name: str, function: Callable[..., Any], parameters: list[inspect.Parameter]
) -> dict[str, Any]:
    """The type of each parameter; ``_INJECTED`` for the context."""
    annotations = {one.name: one.annotation for one in parameters}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise _refusal(name, f"takes *{parameter.name}", "parameters with names")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise _refusal(name, f"takes {parameter.name} by position only", "no `/`")
        if parameter.annotation is parameter.empty:
            raise _refusal(name, f"has no annotation for {parameter.name}", "a type for each")
        _check_default(name, parameter)
    # The context is found by its name too: it may be imported for the type checker only.
    named = [name for name, annotation in annotations.items() if _is_context(annotation)]
    try:
        types = _evaluated({**annotations, **dict.fromkeys(named, SessionContext)}, function)
    except (NameError, SyntaxError, TypeError, AttributeError) as error:
        what = f"has an annotation that can't be evaluated ({error})"
        expected = "types that are known where the module is imported"
        raise _refusal(name, what, expected) from error
    return {
        one: _INJECTED if _is_context(type_) else _understood(name, type_)
        for one, type_ in types.items()
    }


def _check_default(name: str, parameter: inspect.Parameter) -> None:
    if is_field(parameter.default):
        expected = "Annotated[the type, Field(...)] = the default"
        raise _refusal(name, f"has a Field as the default of {parameter.name}", expected)


def _evaluated(annotations: dict[str, Any], function: Any) -> dict[str, Any]:
    holder: Any = SimpleNamespace(__annotations__=annotations)
    names = getattr(inspect.unwrap(function), "__globals__", {})
    return typing.get_type_hints(holder, globalns=names, include_extras=True)


def _understood(name: str, type_: Any) -> Any:
    try:
        return understood(type_)
    except TypeError as error:
        what = f"has an annotation that can't be understood ({error})"
        raise _refusal(name, what, "bounds such as Field(ge=1), or a model of Pydantic") from error


def _is_context(annotation: Any) -> bool:
    """Whether an annotation means the context of the run; it may be unevaluated text."""
    if isinstance(annotation, str):
        return _CONTEXT.fullmatch(annotation.strip("'\" ")) is not None
    if typing.get_origin(annotation) in (Union, UnionType):
        return any(_is_context(one) for one in typing.get_args(annotation))
    return isinstance(annotation, type) and issubclass(annotation, SessionContext)


def _struct(
    name: str, parameters: list[inspect.Parameter], types: dict[str, Any]
) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for one in parameters:
        if types[one.name] is _INJECTED:
            continue
        if one.default is one.empty:
            fields.append((one.name, types[one.name]))
        else:
            fields.append((one.name, types[one.name], _default(one.default)))
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)


def _in_thread(function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """Calls ``function``. A StopIteration can't be given to a future: nobody would be told."""
    try:
        return function(**given)
    except StopIteration as error:
        raise RuntimeError("the function raised StopIteration") from error


def _default(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return msgspec.field(default_factory=lambda: value)


def _parameters(name: str, arguments: type[msgspec.Struct]) -> dict[str, Any]:
    try:
        schema = schema_of(arguments)
    except TypeError as error:
        raise _refusal(
            name, f"has a parameter that JSON can't carry ({error})", "JSON's types"
        ) from error
    schema.pop("title", None)
    return schema
