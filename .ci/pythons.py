"""The supported Python versions, and how to find one: on PATH, in pyenv, or from uv."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packages import BOOT, install_into
from shell import ROOT, WINDOWS, Unavailable, output, say

EAGER_SINCE = (3, 12)
"""The first Python with ``asyncio.eager_task_factory``."""
_CLASSIFIER = re.compile(r"Programming Language :: Python :: (3\.\d+)")
_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"
_PROBE_TIMEOUT = 20
_DOWNLOAD_TIMEOUT = 180
# No retries: without a network the run fails soon, and says why.
_UV_SETTINGS = {"UV_HTTP_RETRIES": "0", "UV_HTTP_CONNECT_TIMEOUT": "10"}


def parse(version: str) -> tuple[int, int]:
    """``3.12`` as a tuple of numbers. Raises Unavailable for anything else."""
    found = re.fullmatch(r"(\d+)\.(\d+)", version)
    if not found:
        raise Unavailable(f"--python takes a version such as 3.12, not {version!r}")
    return int(found[1]), int(found[2])


def supported() -> list[str]:
    """The versions that the classifiers of pyproject.toml name, oldest first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [_CLASSIFIER.fullmatch(line) for line in project["classifiers"]]
    return sorted((one[1] for one in found if one), key=parse)


def current() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def find(version: str) -> Path:
    """A working interpreter of that version. Raises Unavailable with the places searched."""
    oldest = supported()[0]
    if parse(version) < parse(oldest):
        raise Unavailable(f"agentws needs Python {oldest} or newer, not {version}")
    looked_for = []
    for place, candidates in _places(version):
        looked_for.append(place)
        for candidate in candidates:
            if output([candidate, "-c", _VERSION], timeout=_PROBE_TIMEOUT) == version:
                return candidate
    raise Unavailable(
        f"Python {version} was not found; looked for " + ", ".join(looked_for) + ". "
        f"Install it in one of these places, or put python{version} on PATH"
    )


def _places(version: str) -> Iterator[tuple[str, Iterator[Path]]]:
    """The places to search, cheapest first, each with its candidates."""
    yield "the Python that runs this", iter([Path(sys.executable)])
    yield f"python{version} on PATH", _on_path(version)
    for folder in _pyenv_folders():
        yield f"{version}.* in {folder}", _under_pyenv(folder, version)
    yield "uv", _through_uv(version)


def _on_path(version: str) -> Iterator[Path]:
    """Every match: the first one may be a pyenv shim that can't run this version."""
    name = f"python{version}.exe" if WINDOWS else f"python{version}"
    for folder in filter(None, os.environ.get("PATH", os.defpath).split(os.pathsep)):
        if (Path(folder) / name).is_file():
            yield Path(folder) / name


def _pyenv_folders() -> list[Path]:
    named = os.environ.get("PYENV_ROOT")
    roots = [Path(named)] if named else []
    return list(dict.fromkeys(root / "versions" for root in [*roots, Path.home() / ".pyenv"]))


def _under_pyenv(folder: Path, version: str) -> Iterator[Path]:
    """Newest first; no free-threaded builds (3.13.0t), no environments (3.12.1/envs)."""
    pattern = re.compile(re.escape(version) + r"\.(\d+)")
    found = [pattern.fullmatch(each.name) for each in folder.glob(f"{version}.*")]
    for one in sorted(filter(None, found), key=lambda one: int(one[1]), reverse=True):
        yield folder / one[0] / "bin" / "python"


def _through_uv(version: str) -> Iterator[Path]:
    tool = shutil.which("uv") or _own_uv()
    if not tool:
        return
    find = [tool, "python", "find", "--managed-python", version]
    found = output(find, timeout=_PROBE_TIMEOUT)
    if not found:
        say(f"Python {version} was not found: installing it with uv")
        env = {**_UV_SETTINGS, **os.environ}
        output([tool, "python", "install", version], env=env, timeout=_DOWNLOAD_TIMEOUT)
        found = output(find, timeout=_PROBE_TIMEOUT)
    if found:
        yield Path(found)


def _own_uv() -> str | None:
    folder = BOOT / "uv"
    tool = folder / "bin" / ("uv.exe" if WINDOWS else "uv")
    if not tool.exists():
        say("no uv on PATH: installing it, to install another Python with it")
        install_into(folder, "uv")
    return str(tool) if tool.exists() else None
