"""The map of the code: every place on it exists, and its layers are those that are checked."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.test_layers import ALSO, BESIDE, EVERY_LAYER, LAYERS

from .pages import ROOT, codes, page, rows, section

PAGE = page("find-your-way.md")
ROOMS = section(PAGE, "## The layers")
PLACES = sorted(codes(PAGE))


@cache
def names(file: Path) -> frozenset[str]:
    """What a module defines: its names, and ``Class.name`` for members and attributes."""
    return frozenset(defined(ast.parse(file.read_text()).body, ""))


def defined(body: list[ast.stmt], within: str) -> Iterator[str]:
    for node in body:
        match node:
            case ast.ClassDef(name=name):
                yield within + name
                yield from defined(node.body, f"{within}{name}.")
                yield from (f"{within}{name}.{one}" for one in attributes(node))
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield within + name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield within + name
            case ast.Assign(targets=targets):
                yield from (within + one.id for one in targets if isinstance(one, ast.Name))
            case _:
                pass


def attributes(node: ast.ClassDef) -> Iterator[str]:
    """What its methods assign to ``self``."""
    for one in ast.walk(node):
        match one:
            case ast.Attribute(value=ast.Name(id="self"), attr=attr, ctx=ast.Store()):
                yield attr
            case _:
                pass


@pytest.mark.parametrize("place", PLACES)
def test_every_place_on_the_map_exists(place: str) -> None:
    path, _, name = place.partition("::")
    file = ROOT / path
    assert file.exists(), f"there is no {path}"
    assert file.is_dir() is path.endswith("/")
    assert not name or name in names(file), f"{path} has no {name}"


def room(cell: str) -> str:
    """The room's name in the test of layers."""
    name = cell.strip("`").removeprefix("agentws/").rstrip("/").removesuffix(".py")
    return "" if name == "__init__" else name


def test_the_layers_are_listed_in_the_order_of_their_imports() -> None:
    order = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    listed = [room(row[0]) for row in rows(ROOMS) if len(row) == 2]
    assert sorted(listed) == sorted(order)
    assert listed == sorted(listed, key=lambda name: order[name])


def test_each_folder_beside_the_layers_is_listed_with_what_it_may_import() -> None:
    listed = {room(row[0]): row[2] for row in rows(ROOMS) if len(row) == 3}
    assert listed.pop("web") == "no Python"
    assert listed == {name: imports(rooms) for name, rooms in BESIDE.items()}


def imports(rooms: set[str]) -> str:
    if not rooms:
        return "nothing of agentws"
    every = ["every layer"] if EVERY_LAYER <= rooms else []
    return ", ".join([*every, *sorted(rooms - EVERY_LAYER if every else rooms)])


def test_the_map_names_the_layers_that_may_import_backends() -> None:
    listed = {room(row[0]) for row in rows(ROOMS) if len(row) == 2 and "backends" in row[1]}
    assert listed == {name for name, rooms in ALSO.items() if "backends" in rooms}


def test_every_folder_and_module_at_the_root_of_the_package_is_on_the_map() -> None:
    listed = {row[0].strip("`") for row in rows(ROOMS)}
    there = {
        f"agentws/{one.name}/" if one.is_dir() else f"agentws/{one.name}"
        for one in (ROOT / "agentws").iterdir()
        if one.suffix == ".py" or (one.is_dir() and one.name != "__pycache__")
    }
    assert listed == there
