"""``module:Agent``: loads an agent factory or an ASGI app by its name."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
import traceback
from types import ModuleType
from typing import Any, Final

from .problem import USAGE, Problem

EXPECTED: Final = "module:Agent, as in app.agents:Support"
_ASGI: Final = ("scope", "receive", "send")


def load_target(target: str) -> Any:
    """The object that ``module:name`` names. Raises Problem, which says what is wrong with it."""
    module_name, _, path = target.partition(":")
    if module_name.endswith(".py") or "/" in module_name:
        as_module = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise Problem(
            f"{module_name} is a file; expected {as_module}:{path or 'Agent'}", status=USAGE
        )
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise Problem(f"{target!r} is not the name of a module; expected {EXPECTED}", status=USAGE)
    module = _import(module_name)
    if not path:
        raise Problem(f"{module_name} is a module; expected {_suggestion(module)}", status=USAGE)
    found: Any = module
    for part in path.split("."):
        if not hasattr(found, part):
            raise Problem(f"{module_name} has no {path}{_near(found, part)}", status=USAGE)
        found = getattr(found, part)
    return found


def is_asgi_app(target: Any) -> bool:
    """Whether ``target`` is called with scope, receive and send, and so is served as it is."""
    if inspect.isclass(target) or not callable(target):
        return False
    try:
        parameters = list(inspect.signature(target).parameters)
    except (TypeError, ValueError):
        return False
    return tuple(parameters[:3]) == _ASGI


def _import(name: str) -> ModuleType:
    # A console script does not import from the current directory, and the agent is there.
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise Problem(f"there is no module {error.name} in {here}", status=USAGE) from error
        raise _broken(name, error) from error
    except Exception as error:
        raise _broken(name, error) from error


def _broken(name: str, error: Exception) -> Problem:
    """For a module that raises while it is imported: the line that raised."""
    if isinstance(error, SyntaxError):
        where = f"{error.filename}, line {error.lineno}"
        return Problem(f"{name} can't be imported: {error.msg} ({where})")
    frame = traceback.extract_tb(error.__traceback__)[-1]
    why = "".join(traceback.format_exception_only(error)).strip()
    return Problem(f"{name} can't be imported: {why} ({frame.filename}, line {frame.lineno})")


def _suggestion(module: ModuleType) -> str:
    from ..agents.agent import Agent

    own = [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, Agent)
        and value.__module__ == module.__name__
    ]
    return f"{module.__name__}:{own[0]}" if own else EXPECTED


def _near(owner: Any, name: str) -> str:
    near = difflib.get_close_matches(name, [one for one in dir(owner) if one[0] != "_"], n=1)
    return f"; did you mean {near[0]}?" if near else ""
