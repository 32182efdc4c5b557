"""The layers of the package, as a test: what a module may import.

A layer may import those before it in ``LAYERS``. A room beside the layers (backends, clients,
integrations, the server, ...) may import the rooms that ``BESIDE`` lists for it. No chain of
imports may lead back to where it began: that is an import circle, inside a room too. An import
that only a type checker sees counts as any other.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "agentws"

LAYERS: list[set[str]] = [
    {"errors", "settings"},
    {"protocol"},
    {"limits", "bus"},
    {"store", "files"},
    {"auth"},
    {"attachments"},
    {"tasks"},
    {"sessions"},
    {"agents"},
    {"runs"},
    {"transports"},
    {"gateway"},
    {"hosting"},
    {"mount"},
    {"", "events", "llm", "tools"},  # the public names: agentws/__init__.py, agentws/events.py, ...
]
PORTS = {"errors", "settings", "protocol", "auth", "store", "files", "bus"}
EVERY_LAYER = set[str]().union(*LAYERS)

BESIDE: dict[str, set[str]] = {
    "backends": PORTS,
    "integrations": PORTS | {"agents"},
    "client": {"errors", "settings", "protocol"},
    "server": {"settings"},
    "testing": EVERY_LAYER | {"backends", "client"},
    "bench": EVERY_LAYER | {"backends", "server", "client"},
    "cli": EVERY_LAYER | {"backends", "server", "client", "bench", "integrations", "testing"},
}
ALSO: dict[str, set[str]] = {
    # The default store and bus are chosen here.
    "gateway": {"backends"},
    "": {"backends"},
}

FOREIGN: dict[str, set[str]] = {
    "attachments": {"puremagic"},
    "transports": {"starlette", "python_multipart"},
    "hosting": {"starlette"},
    "mount": {"starlette"},
    "server": {"uvicorn", "httptools", "h11"},
    "client": {"websockets"},
    "testing": {"anyio", "httpx2", "hypothesis", "pytest", "starlette", "uvicorn", "websockets"},
    "bench": {"starlette", "uvicorn", "uvloop", "websockets"},
    "cli": {"anyio", "starlette", "uvicorn"},
}
"""Third-party packages besides msgspec, by room. Starlette is used from the transports up."""
LATER = {"annotationlib"}
"""Modules of the standard library that the oldest supported Python does not have."""
ONE_TECHNOLOGY_PER_FILE = {"backends", "integrations"}

IMPURE = {"anyio", "asyncio", "logging", "os", "random", "secrets", "socket", "starlette"}
IMPURE |= {"threading", "time", "uuid"}
"""What the protocol must not import: no I/O, clock, randomness or logging."""


class Import(NamedTuple):
    file: str
    line: int
    module: str
    """The module that imports."""
    of: str
    """The module that is imported."""
    typing: bool
    """Whether only a type checker sees it: it stands under ``if TYPE_CHECKING``."""

    @property
    def room(self) -> str:
        return room_of(self.module)

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.of}"


def room_of(module: str) -> str:
    """``agentws.runs.engine`` is in the room ``runs``; ``agentws`` itself in the room ``""``."""
    return (module.split(".") + [""])[1]


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


MODULES = dict(modules())


def imports() -> Iterator[Import]:
    for module, path in MODULES.items():
        file, within = str(path.relative_to(ROOT)), package(module, path)
        for line, name, typing in imported(ast.parse(path.read_text()), within):
            yield Import(file, line, module, module_of(name), typing)


def package(module: str, path: Path) -> list[str]:
    parts = module.split(".")
    return parts if path.name == "__init__.py" else parts[:-1]


def imported(
    node: ast.AST, within: list[str], typing: bool = False
) -> Iterator[tuple[int, str, bool]]:
    """The absolute name of everything imported under ``node``, in functions too."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from imported(child, within, True)
            case ast.Import():
                yield from ((child.lineno, alias.name, typing) for alias in child.names)
            case ast.ImportFrom(level=level, module=name):
                base = within[: len(within) - level + 1] if level else []
                parts = [*base, *([name] if name else [])]
                for alias in child.names:
                    yield child.lineno, ".".join([*parts, alias.name]), typing
            case _:
                yield from imported(child, within, typing)


def module_of(name: str) -> str:
    """The module of the package that holds ``name``; a name of another package unchanged."""
    parts = name.split(".")
    starts = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
    return next((start for start in starts if start in MODULES), name)


IMPORTS = list(imports())
OURS = [one for one in IMPORTS if one.of in MODULES]
THEIRS = [one for one in IMPORTS if one.of not in MODULES and not one.typing]


def allowed(room: str) -> set[str]:
    if room in BESIDE:
        return BESIDE[room] | {room}
    index = next(number for number, rooms in enumerate(LAYERS) if room in rooms)
    return set[str]().union(*LAYERS[:index], ALSO.get(room, set()), {room})


def test_every_room_has_a_place_in_the_layers() -> None:
    rooms = {room_of(module) for module in MODULES}
    assert rooms <= EVERY_LAYER | set(BESIDE), "a new room: add it to LAYERS or BESIDE"
    assert EVERY_LAYER | set(BESIDE) <= rooms, (
        "a room that no longer exists: remove it from LAYERS or BESIDE"
    )


def test_a_module_imports_only_layers_below_it() -> None:
    wrong = [one for one in OURS if room_of(one.of) not in allowed(one.room)]
    assert wrong == [], "\n".join(map(str, wrong))


def import_circles() -> set[tuple[str, ...]]:
    """Each group of modules that import each other, directly or through others of the group."""
    direct: dict[str, set[str]] = {module: set() for module in MODULES}
    for one in OURS:
        direct[one.module].add(one.of)
    reached = {module: everything_imported(module, direct) for module in MODULES}
    return {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in MODULES
        if module in reached[module]
    }


def everything_imported(module: str, direct: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    pending = [module]
    while pending:
        new = direct[pending.pop()] - found
        found |= new
        pending += new
    return found


def test_there_are_no_import_circles() -> None:
    """Imports for the type checker count too: modules in a circle can't be understood alone."""
    assert import_circles() == set()


@pytest.mark.parametrize(
    "init", sorted(PACKAGE.glob("*/__init__.py")), ids=lambda init: str(init.parent.name)
)
def test_a_folder_says_what_lives_there_and_what_may_be_imported(init: Path) -> None:
    text = ast.get_docstring(ast.parse(init.read_text())) or ""
    sentences = re.findall(r"[.:](?:\s|$)", text)
    assert len(sentences) >= 2, f"{init.parent.name}: at least two sentences"
    assert re.search(r"\bImports\b", text), f"{init.parent.name}: what may be imported"


def test_a_third_party_package_is_imported_only_in_the_rooms_that_may() -> None:
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


def test_the_protocol_imports_no_io_clock_randomness_or_logging() -> None:
    wrong = [one for one in THEIRS if one.room == "protocol" and one.of.split(".")[0] in IMPURE]
    assert wrong == [], "\n".join(map(str, wrong))


@pytest.mark.parametrize("room", sorted(ONE_TECHNOLOGY_PER_FILE))
def test_a_file_of_backends_or_integrations_imports_one_technology(room: str) -> None:
    """Packages of one technology begin with the same word: ``psycopg``, ``psycopg_pool``."""
    by_file: dict[str, set[str]] = {}
    for one in THEIRS:
        top = one.of.split(".")[0]
        if one.room == room and top not in sys.stdlib_module_names and top != "msgspec":
            by_file.setdefault(one.file, set()).add(top.split("_")[0])
    assert [file for file, technologies in by_file.items() if len(technologies) > 1] == []


def test_a_backend_imports_no_other_backend() -> None:
    """The files of one technology are in one folder, or begin with the same word: ``memory``."""

    def technology(file_or_module: str) -> str:
        return re.split(r"[/.]", file_or_module)[2].split("_")[0]

    wrong = [
        one
        for one in OURS
        if one.room == "backends" == room_of(one.of) and technology(one.of) != technology(one.file)
    ]
    assert wrong == [], "\n".join(map(str, wrong))
