"""The installed package: the wheel has every file, and the core needs no extra."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "agentws"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def canonical(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=50)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_has_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    files = {path.relative_to(ROOT) for path in PACKAGE.rglob("*") if path.is_file()}
    caches = {path for path in files if {"__pycache__", ".mypy_cache"} & {*path.parts}}
    assert {path.as_posix() for path in files - caches} <= set(wheel.namelist())


def test_the_wheel_has_the_browser_files_and_the_type_marker(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "agentws/py.typed" in names
    suffixes = {Path(name).suffix for name in names if name.startswith("agentws/web/")}
    assert {".js", ".css", ".html"} <= suffixes


def test_the_wheel_has_the_command_and_only_the_agentws_package(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheel.namelist()} == {"agentws"}
    (points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "agentws = agentws.cli:main" in wheel.read(points).decode()


def test_the_wheel_declares_the_licences_of_the_vendored_files(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("dist-info/METADATA")]
    lines = wheel.read(name).decode().splitlines()
    vendored = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.LICENSE")}
    assert {f"License-File: {path}" for path in {"LICENSE", *vendored}} <= set(lines)
    # All vendored packages have the MIT licence.
    assert "License-Expression: MIT" in lines


def test_the_browser_package_has_its_files_and_the_same_version() -> None:
    browser = json.loads((PACKAGE / "web" / "package.json").read_text())
    assert browser["version"] == PROJECT["version"] == metadata.version("agentws")
    missing = [name for name in browser["files"] if not (PACKAGE / "web" / name).exists()]
    assert missing == []


def test_every_extra_named_in_code_and_docs_exists() -> None:
    pages = [*PACKAGE.rglob("*.py"), *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    named = {
        (extra, str(page.relative_to(ROOT)))
        for page in pages
        for group in re.findall(r"agentws\[([a-z0-9,_-]+)\]", page.read_text())
        for extra in group.split(",")
    }
    assert [(extra, page) for extra, page in sorted(named) if extra not in EXTRAS] == []


def test_every_dependency_is_pinned_in_the_constraints() -> None:
    pins = {
        canonical(line)
        for line in (ROOT / "tests/constraints.txt").read_text().splitlines()
        if "==" in line
    }
    wanted = {canonical(line) for group in EXTRAS.values() for line in group}
    wanted |= {canonical(line) for line in PROJECT["dependencies"]}
    assert wanted - pins == {"agentws"}


# Imports httptools, which is optional: the preset imports this module only if it is installed.
WITHOUT_NAMING_AN_EXTRA = "agentws.server.upgrading"

IMPORT_ALL = """
import importlib, importlib.abc, pkgutil, sys
allowed = set(sys.argv[1].split(",")) | set(sys.stdlib_module_names)

class OnlyTheCore(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, OnlyTheCore())
import agentws
for module in pkgutil.walk_packages(agentws.__path__, "agentws."):
    try:
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    except ImportError as error:
        if module.name != sys.argv[2] and 'pip install "agentws[' not in str(error):
            raise
"""


def requirements(name: str) -> list[str]:
    """The dependencies without extras; none for a package that this platform does not install."""
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
    return [canonical(line) for line in lines if "extra ==" not in line]


def core_modules() -> set[str]:
    """The top-level modules of the core's direct and indirect dependencies."""
    names, todo = set[str](), [canonical(line) for line in PROJECT["dependencies"]]
    while todo:
        name = todo.pop()
        if name not in names:
            names.add(name)
            todo += requirements(name)
    owners = metadata.packages_distributions()
    return {module for module, by in owners.items() if names & set(map(canonical, by))}


def test_every_module_imports_without_extras_or_names_the_extra_to_install() -> None:
    allowed = ",".join({"agentws", *core_modules()})
    command = [sys.executable, "-c", IMPORT_ALL, allowed, WITHOUT_NAMING_AN_EXTRA]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
