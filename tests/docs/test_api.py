"""The API's page names all that is public, and nothing else."""

from __future__ import annotations

import importlib
import re
from types import ModuleType

import pytest

import agentws

from .pages import page, section

PAGE = page("reference/api.md")
MODULES = ["agentws", "agentws.client", "agentws.server", "agentws.testing"]


def documented(name: str) -> list[str]:
    return re.findall(r"^### `(\w+)`$", section(PAGE, f"## {name}"), re.M)


def public(module: ModuleType) -> list[str]:
    names: list[str] = module.__all__
    return names


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_has_a_heading(name: str) -> None:
    module = importlib.import_module(name)
    assert sorted(documented(name)) == sorted(public(module))
    assert len(set(public(module))) == len(public(module))


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_there(name: str) -> None:
    module = importlib.import_module(name)
    assert [one for one in public(module) if not hasattr(module, one)] == []


def test_the_public_names_are_in_order() -> None:
    """Constants first, then classes, then functions, each by the alphabet: as ruff sorts them."""

    def key(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    assert public(agentws) == sorted(public(agentws), key=key)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_class_and_function_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    bare = [
        one
        for one in public(module)
        if callable(value := getattr(module, one))
        and getattr(value, "__module__", "").startswith("agentws")
        and not (value.__doc__ or hasattr(value, "summary"))
    ]
    assert bare == []
