"""The API page names all public names, and nothing else."""

from __future__ import annotations

import importlib
import re

import pytest

import agentws

from .pages import codes, page, section
from .public import PUBLIC

PAGE = page("reference/api.md")
WITH_HEADINGS = ["agentws", "agentws.client", "agentws.server", "agentws.testing"]
IN_TABLES = sorted(PUBLIC.keys() - set(WITH_HEADINGS))


def headings(name: str) -> list[str]:
    return re.findall(r"^### `(\w+)`$", section(PAGE, f"## {name}"), re.M)


def described(name: str) -> set[str]:
    """The names in the part of the page that is about a module: its section, or its row."""
    if f"\n## {name}\n" in PAGE:
        text = section(PAGE, f"## {name}")
    else:
        (text,) = re.findall(rf"^\| `{re.escape(name)}` \|.*$", PAGE, re.M)
    return {re.split(r"\W", code)[0] for code in codes(text)}


@pytest.mark.parametrize("name", WITH_HEADINGS)
def test_every_public_name_has_a_heading(name: str) -> None:
    assert sorted(headings(name)) == sorted(PUBLIC[name])


@pytest.mark.parametrize("name", IN_TABLES)
def test_every_public_name_of_the_other_modules_is_described(name: str) -> None:
    assert PUBLIC[name] - described(name) == set()


def test_the_public_names_are_in_order() -> None:
    """Constants first, then classes, then functions, each by the alphabet: as ruff sorts them."""

    def key(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    assert agentws.__all__ == sorted(agentws.__all__, key=key)


@pytest.mark.parametrize("name", WITH_HEADINGS)
def test_every_public_class_and_function_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    bare = [
        one
        for one in PUBLIC[name]
        if callable(value := getattr(module, one))
        and getattr(value, "__module__", "").startswith("agentws")
        and not (value.__doc__ or hasattr(value, "summary"))
    ]
    assert bare == []
