"""The picture of the architecture, as a test: what a module may import.

A layer may import those before it in ``LAYERS``. What stands beside the layers (backends, clients,
integrations, the server, ...) names what it may import in ``BESIDE``. An import that only a type
checker sees is free.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "agentws"

LAYERS: list[set[str]] = [
    {"errors"},
    {"protocol"},
    {"limits", "bus"},
    {"store"},
    {"auth"},
    {"tasks"},
    {"sessions"},
    {"agents"},
    {"runs"},
    {"transports"},
    {"gateway"},
    {"hosting"},
    {"mount"},
    {""},  # the public face, agentws/__init__.py
]
PORTS = {"errors", "protocol", "auth", "store", "bus"}
EVERY_LAYER = set[str]().union(*LAYERS)

BESIDE: dict[str, set[str]] = {
    "backends": PORTS,
    "integrations": PORTS | {"agents"},
    "client": {"errors", "protocol"},
    "server": set(),
    "testing": EVERY_LAYER | {"backends", "client"},
    "bench": EVERY_LAYER | {"backends", "server", "client"},
    "cli": EVERY_LAYER | {"backends", "server", "client", "bench", "integrations", "testing"},
}
ALSO: dict[str, set[str]] = {
    # Where everything is put together, the defaults are chosen.
    "gateway": {"backends"},
    "": {"backends"},
}

FOREIGN: dict[str, set[str]] = {
    "transports": {"starlette"},
    "hosting": {"starlette"},
    "mount": {"starlette"},
    "server": {"uvicorn", "httptools"},
    "client": {"websockets"},
    "testing": {"anyio", "httpx2", "hypothesis", "pytest", "starlette", "uvicorn", "websockets"},
    "bench": {"starlette", "uvicorn", "uvloop", "websockets"},
    "cli": {"anyio", "starlette", "uvicorn"},
}
"""Beyond the standard library and msgspec. Starlette begins at the transports."""
LATER = {"annotationlib"}
"""Of the standard library of a later Python than the oldest one, and imported only there."""
ONE_TECHNOLOGY_PER_FILE = {"backends", "integrations"}

IMPURE = {"anyio", "asyncio", "logging", "os", "random", "secrets", "socket", "starlette"}
IMPURE |= {"threading", "time", "uuid"}
"""What the protocol must do without: no I/O, clock, randomness or logging."""


class Import(NamedTuple):
    file: str
    line: int
    room: str
    of: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.of}"


def room_of(module: str) -> str:
    """``agentws.runs.engine`` is in the room ``runs``; ``agentws`` itself in the room ``""``."""
    return (module.split(".") + [""])[1]


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


def imports() -> list[Import]:
    return [
        Import(str(path.relative_to(ROOT)), line, room_of(module), of)
        for module, path in modules()
        for line, of in imported_at_run_time(ast.parse(path.read_text()), package(module, path))
    ]


def package(module: str, path: Path) -> list[str]:
    parts = module.split(".")
    return parts if path.name == "__init__.py" else parts[:-1]


def imported_at_run_time(node: ast.AST, within: list[str]) -> Iterator[tuple[int, str]]:
    """Every imported module under ``node``, by its absolute name."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.Import():
                yield from ((child.lineno, alias.name) for alias in child.names)
            case ast.ImportFrom(level=0, module=str(name)):
                yield child.lineno, name
            case ast.ImportFrom(module=name):
                base = within[: len(within) - child.level + 1]
                if name is not None:
                    yield child.lineno, ".".join([*base, name])
                else:
                    yield from ((child.lineno, ".".join([*base, a.name])) for a in child.names)
            case _:
                yield from imported_at_run_time(child, within)


IMPORTS = imports()
OURS = [one for one in IMPORTS if one.of.split(".")[0] == "agentws"]
THEIRS = [one for one in IMPORTS if one.of.split(".")[0] != "agentws"]


def allowed(room: str) -> set[str]:
    if room in BESIDE:
        return BESIDE[room] | {room}
    index = next(number for number, rooms in enumerate(LAYERS) if room in rooms)
    return set[str]().union(*LAYERS[:index], ALSO.get(room, set()), {room})


def test_every_module_has_its_place_in_the_picture() -> None:
    rooms = {room_of(module) for module, _ in modules()}
    assert rooms <= EVERY_LAYER | set(BESIDE), "a new room: say what it may import"
    assert EVERY_LAYER | set(BESIDE) <= rooms, "a room of the picture is gone"


def test_no_arrow_points_the_wrong_way() -> None:
    wrong = [one for one in OURS if room_of(one.of) not in allowed(one.room)]
    assert wrong == [], "\n".join(map(str, wrong))


def test_foreign_packages_stay_where_they_belong() -> None:
    def is_free(one: Import) -> bool:
        top = one.of.split(".")[0]
        return (
            top in sys.stdlib_module_names
            or top in LATER | {"msgspec"}
            or top in FOREIGN.get(one.room, set())
            or one.room in ONE_TECHNOLOGY_PER_FILE
        )

    wrong = [one for one in THEIRS if not is_free(one)]
    assert wrong == [], "\n".join(map(str, wrong))


def test_the_protocol_is_pure() -> None:
    wrong = [one for one in THEIRS if one.room == "protocol" and one.of.split(".")[0] in IMPURE]
    assert wrong == [], "\n".join(map(str, wrong))


@pytest.mark.parametrize("room", sorted(ONE_TECHNOLOGY_PER_FILE))
def test_a_file_adapts_one_technology(room: str) -> None:
    by_file: dict[str, set[str]] = {}
    for one in THEIRS:
        top = one.of.split(".")[0]
        if one.room == room and top not in sys.stdlib_module_names and top != "msgspec":
            by_file.setdefault(one.file, set()).add(top)
    assert [file for file, technologies in by_file.items() if len(technologies) > 1] == []


def test_a_backend_imports_no_other_backend() -> None:
    """Files of one technology share their first word: ``sqlite``, ``sqlite_log``, ..."""

    def technology(module: str) -> str:
        return module.split(".")[-1].split("_")[0]

    wrong = [
        one
        for one in OURS
        if one.room == "backends" == room_of(one.of)
        and technology(one.of) != technology(Path(one.file).stem)
    ]
    assert wrong == [], "\n".join(map(str, wrong))
