"""The supported versions are those that the tests run with, and the README names them."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import matrix
import pythons
from packaging.requirements import Requirement
from packaging.version import Version

from .pages import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HOSTS = {"fastapi"}
"""Packages that only the test extra installs, because users bring their own."""


def floors() -> dict[str, Version]:
    """The oldest supported version of every package that users run with."""
    extras: dict[str, list[str]] = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"]]
    for name, group in extras.items():
        lines += [line for line in group if name != "test" or Requirement(line).name in HOSTS]
    found = {}
    for requirement in map(Requirement, lines):
        (floor,) = [one.version for one in requirement.specifier if one.operator == ">="]
        found[requirement.name] = Version(floor)
    return found


def pins(name: str) -> dict[str, Version]:
    lines = (ROOT / "tests" / name).read_text().splitlines()
    parted = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {package: Version(version) for package, version in parted}


def test_every_oldest_supported_version_is_tested() -> None:
    assert floors() == pins("floors.txt")


def test_the_pinned_versions_are_not_older_than_the_oldest_supported() -> None:
    newest = pins("constraints.txt")
    assert [name for name, floor in floors().items() if newest[name] < floor] == []


def test_the_readme_names_the_oldest_supported_versions() -> None:
    readme = (ROOT / "README.md").read_text()
    named = dict(re.findall(r"(\w+) from (\d[\d.]*\d)", readme))
    wanted = {name.lower(): Version(version) for name, version in named.items()}
    assert wanted.keys() == {"starlette", "fastapi", "uvicorn"}
    assert {name: floors()[name] for name in wanted} == wanted


def test_the_readme_and_the_metadata_promise_the_same_pythons() -> None:
    promised = pythons.supported()
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"Python (3\.\d+) to (3\.\d+)", readme) == [(promised[0], promised[-1])]
    assert PROJECT["requires-python"] == f">={promised[0]}"
    minors = [minor for _, minor in map(pythons.parse, promised)]
    assert minors == [*range(minors[0], minors[-1] + 1)]


def test_types_and_style_are_those_of_the_oldest_python() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    oldest = pythons.supported()[0]
    assert tools["mypy"]["python_version"] == oldest
    assert tools["ruff"]["target-version"] == "py" + oldest.replace(".", "")


def test_every_promised_python_is_run() -> None:
    oldest, *others = pythons.supported()
    plan = matrix.plan()
    assert [suite.version for suite in plan if suite.whole] == [oldest]
    plain = [suite for suite in plan if not (suite.whole or suite.eager or suite.oldest)]
    assert [suite.version for suite in plain] == others
    assert [pythons.parse(suite.version) >= (3, 12) for suite in plan if suite.eager] == [True]
    assert [suite.version for suite in plan if suite.oldest] == [oldest]


def test_every_path_that_a_part_names_exists() -> None:
    tests = [test.partition("::")[0] for test in matrix.NOT_EAGER]
    eager = [f"tests/{part}" for part in matrix.EAGER]
    named = [*matrix.LEFT_OUT, *matrix.OF_PACKAGES, *matrix.OF_PYTHON, *tests, *eager]
    assert [path for path in named if not (ROOT / path).exists()] == []
