"""Virtual environments in the checkout: .venv for the Python that runs ./dev, others beside it.

=====================  =================================================================
``.venv``              the Python that runs ./dev, with tests/constraints.txt
``.venv-3.12``         another Python, with the same packages
``.venv-3.11-oldest``  with the oldest supported packages, from tests/floors.txt
``.venv-3.13-eager``   the packages of ``.venv-3.13``, with eager tasks
=====================  =================================================================
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import sys
from pathlib import Path

import pythons
from packages import BOOT, CONSTRAINTS, install, install_into, uv
from shell import ROOT, WINDOWS, Unavailable, call, output, say

FLOORS = ROOT / "tests" / "floors.txt"
EAGER = ROOT / ".ci" / "eager_tasks.py"
INCLUDED_IN = {"": ("", "fast", "test"), "fast": ("fast", "test"), "test": ("test",)}
_VERSION = "import sys; print(sys.version)"
_SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"


@dataclasses.dataclass(frozen=True)
class Environment:
    """A virtual environment: its folder, its base interpreter, its pinned package versions."""

    folder: Path
    base: Path
    constraints: tuple[Path, ...] = (CONSTRAINTS,)
    """If two files pin the same package, the later file wins."""

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if WINDOWS else "bin/python")

    def ensure(self, extra: str = "") -> None:
        """Install the package into it, editable, with the extra, unless it is up to date."""
        wanted = self._fingerprint()
        if self.python.exists() and any(self._has(name, wanted) for name in INCLUDED_IN[extra]):
            return
        self.create()
        say(f"installing agentws{f'[{extra}]' if extra else ''} into {self.folder.name}")
        # The build backend first, so that it is the pinned one and is fetched once.
        self._install("hatchling", "editables")
        self._install("--no-build-isolation", "-e", f".[{extra}]" if extra else ".")
        self._stamp(extra).write_text(wanted)

    def create(self) -> None:
        """Create it, unless it exists, works, and has the version of its base interpreter."""
        needed = "" if uv() else "; import pip"
        if output([self.python, "-c", _VERSION + needed]) == self._version():
            return
        say(f"creating {self.folder.name} with Python {self._version().split()[0]}")
        for make in (_create_with_uv, _create_with_venv, _create_with_virtualenv):
            shutil.rmtree(self.folder, ignore_errors=True)
            if make(self.base, self.folder) and self.python.exists():
                return
        shutil.rmtree(self.folder, ignore_errors=True)
        raise Unavailable(
            "could not create a virtual environment; on Debian try `apt-get install python3-venv`"
        )

    def _version(self) -> str:
        return output([self.base, "-c", _VERSION]) or "unknown"

    def _install(self, *requirements: str) -> None:
        pins = self.folder / "constraints.txt"
        pins.write_text(merged(self.constraints))
        if not install(self.python, pins, *requirements):
            raise Unavailable(f"could not install {' '.join(requirements)}")

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(self._version().encode())
        for file in (ROOT / "pyproject.toml", *self.constraints):
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def _stamp(self, extra: str) -> Path:
        return self.folder / f"installed-{extra or 'core'}"

    def _has(self, extra: str, wanted: str) -> bool:
        return self._stamp(extra).exists() and self._stamp(extra).read_text() == wanted


def prepared(version: str | None, *, eager: bool = False, oldest: bool = False) -> Path:
    """The interpreter of an up-to-date environment for the suite. Raises Unavailable.

    Without a version it is the Python that runs this. If that one is too old for eager tasks, it is
    the newest supported Python.
    """
    has_eager = pythons.parse(version or pythons.current()) >= pythons.EAGER_SINCE
    if eager and version and not has_eager:
        raise Unavailable("asyncio.eager_task_factory needs Python 3.12 or newer")
    newest = pythons.supported()[-1]
    version = version or (newest if eager and not has_eager else pythons.current())
    env = of(version, oldest=oldest)
    env.ensure("test")
    return with_eager_tasks(env).python if eager else env.python


def default() -> Environment:
    return Environment(ROOT / ".venv", Path(sys.executable))


def of(version: str, *, oldest: bool = False) -> Environment:
    """The environment of a Python version, or its ``oldest`` one. Raises Unavailable."""
    if oldest:
        folder = ROOT / f".venv-{version}-oldest"
        return Environment(folder, pythons.find(version), (CONSTRAINTS, FLOORS))
    if version == pythons.current():
        return default()
    return Environment(ROOT / f".venv-{version}", pythons.find(version))


def with_eager_tasks(env: Environment) -> Environment:
    """An environment with the packages of ``env`` and eager tasks. Raises Unavailable.

    A .pth file sets the task factory when an interpreter starts. So servers that tests start as
    processes have it too, whatever their environment variables are.
    """
    light = Environment(env.folder.with_name(f"{env.folder.name}-eager"), env.base)
    light.create()
    packages, own = (Path(output([each.python, "-c", _SITE]) or "") for each in (env, light))
    shutil.copy(EAGER, own / EAGER.name)
    name = EAGER.stem
    first = f"import site, {name}; {name}.install(); site.addsitedir({str(packages)!r})\n"
    (own / f"{name}.pth").write_text(first)
    if output([light.python, "-c", f"import {name}; {name}.check()"]) is None:
        raise Unavailable(f"{light.folder.name} does not start tasks eagerly")
    return light


def merged(files: tuple[Path, ...]) -> str:
    """The pins of several files as one: pip refuses a package with two versions."""
    pins: dict[str, str] = {}
    for file in files:
        lines = [line.strip() for line in file.read_text().splitlines()]
        parted = [line.partition("==") for line in lines if not line.startswith("#")]
        pins.update((name, version) for name, _, version in parted if version)
    return "".join(f"{name}=={version}\n" for name, version in pins.items())


def _create_with_uv(base: Path, folder: Path) -> bool:
    tool = uv()
    return bool(tool) and call([tool or "", "venv", "-q", "-p", base, folder]) == 0


def _create_with_venv(base: Path, folder: Path) -> bool:
    return output([base, "-m", "venv", folder]) is not None


def _create_with_virtualenv(base: Path, folder: Path) -> bool:
    """For Debian, which packages ``venv`` separately; ``pip --target`` works without it."""
    if not install_into(BOOT / "virtualenv", "virtualenv"):
        return False
    env = {**os.environ, "PYTHONPATH": str(BOOT / "virtualenv")}
    return call([sys.executable, "-m", "virtualenv", "-q", "-p", base, folder], env=env) == 0
