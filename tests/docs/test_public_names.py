"""The public modules export exactly the names of ``public.py``; documents and examples use no
others."""

from __future__ import annotations

import ast
import importlib
import re
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentws import events

from .pages import PAGES, ROOT, blocks
from .public import PUBLIC

EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
BLOCKS = [block for page in PAGES for block in blocks(page) if block.language == "python"]
PYTHON = [(str(block), block.text) for block in BLOCKS]
PYTHON += [(str(path.relative_to(ROOT)), path.read_text()) for path in EXAMPLES]


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_module_exports_exactly_its_public_names(name: str) -> None:
    module = importlib.import_module(name)
    exported = list(module.__all__)
    assert set(exported) == PUBLIC[name]
    assert len(set(exported)) == len(exported), "a name is exported twice"
    assert [one for one in exported if not hasattr(module, one)] == []


@pytest.mark.parametrize("union", ["AnyEvent", "Message", "ContentPart", "RunOutcome"])
def test_every_type_that_an_event_can_hold_is_public(union: str) -> None:
    members = typing.get_args(getattr(events, union))
    assert {one.__name__ for one in members} <= PUBLIC["agentws.events"]


def imported(text: str) -> Iterator[tuple[str, str | None]]:
    """Each import of agentws in ``text``: the module, and the name that is taken from it."""
    for node in ast.walk(ast.parse(textwrap.dedent(text))):
        match node:
            case ast.Import():
                yield from ((alias.name, None) for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                yield from ((module, alias.name) for alias in node.names)


def is_public(module: str, name: str | None) -> bool:
    if module.split(".")[0] != "agentws":
        return True
    if name is None:
        return module in PUBLIC
    return name in PUBLIC.get(module, ()) or f"{module}.{name}" in PUBLIC


@pytest.mark.parametrize(("where", "text"), PYTHON, ids=[where for where, _ in PYTHON])
def test_examples_and_documents_import_only_public_names(where: str, text: str) -> None:
    assert [one for one in imported(text) if not is_public(*one)] == []


def is_in_package(dotted: str) -> bool:
    """Whether this names a module, and not a subprotocol or a metadata key (``agentws.v1``)."""
    path = ROOT / "agentws" / dotted.split(".")[1]
    return path.is_dir() or path.with_suffix(".py").exists()


def names_something_public(dotted: str) -> bool:
    """A public module, a package that holds one, or a name of one with what hangs on it."""
    if any(f"{module}.".startswith(f"{dotted}.") for module in PUBLIC):
        return True
    parts = dotted.split(".")
    return any(
        parts[size] in PUBLIC.get(".".join(parts[:size]), ()) for size in range(1, len(parts))
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_documents_name_only_public_modules(page: Path) -> None:
    dotted = re.findall(r"\bagentws(?:\.[A-Za-z_]\w*)+", page.read_text())
    private = [one for one in dotted if is_in_package(one) and not names_something_public(one)]
    assert private == []
