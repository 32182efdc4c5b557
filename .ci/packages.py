"""Installs packages with pip, or with uv where that uses the same package index.

The index is the one that pip is configured for (PIP_* variables, pip.conf).
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from shell import ROOT, WINDOWS, call

BOOT = ROOT / ".boot"
"""The folder of packages that are needed before there is an environment."""
TOOLS = ROOT / ".tools"
"""The folder of programs that the tests need and no environment holds."""
CONSTRAINTS = ROOT / "tests" / "constraints.txt"


def uv() -> str | None:
    return None if _pip_is_configured() else shutil.which("uv")


def install(python: Path, constraints: Path, *arguments: str | Path) -> bool:
    """Install into the environment of ``python``; returns whether it succeeded."""
    tool = uv()
    if tool:
        command = [tool, "pip", "install", "-q", "-p", str(python)]
    else:
        command = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    return call([*command, "-c", constraints, *arguments]) == 0


def install_into(folder: Path, package: str) -> bool:
    """Install one package into a folder, outside of any environment; whether it succeeded."""
    return install(Path(sys.executable), CONSTRAINTS, "--upgrade", "--target", folder, package)


def apt_install(*names: str) -> bool:
    """Install packages of the distribution, where that is possible; whether it succeeded."""
    if WINDOWS or os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    # dpkg needs ldconfig and start-stop-daemon, which are in the sbin folders.
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    env = {**os.environ, "PATH": path, "DEBIAN_FRONTEND": "noninteractive"}
    call(["apt-get", "-qq", "update"], env=env)
    return (
        call(["apt-get", "-qq", "install", "-y", "--no-install-recommends", *names], env=env) == 0
    )


def _pip_is_configured() -> bool:
    """uv reads neither PIP_* nor pip.conf, so it may replace pip only if there are none."""
    if any(name.startswith("PIP_") for name in os.environ):
        return True
    home = Path(os.path.expanduser("~"))
    base = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    machine = (Path("/etc/pip.conf"), Path("/etc/xdg/pip/pip.conf"), Path(sys.prefix, "pip.conf"))
    user = (home / ".pip/pip.conf", base / "pip/pip.conf")
    windows = (Path(os.environ.get("APPDATA", home)) / "pip/pip.ini", home / "pip/pip.ini")
    return any(file.exists() for file in (*machine, *user, *windows))
