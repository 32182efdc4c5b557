"""Installs packages of the distribution, where that is Debian's and this user is root."""

from __future__ import annotations

import os
import shutil

from shell import WINDOWS, call, say


def apt_install(package: str) -> bool:
    """Install one package; returns whether it succeeded."""
    if WINDOWS or os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    say(f"installing {package} with apt-get")
    # dpkg needs ldconfig and start-stop-daemon, which are in the sbin folders.
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    env = {**os.environ, "PATH": path, "DEBIAN_FRONTEND": "noninteractive"}
    call(["apt-get", "-qq", "update"], env=env)
    install = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", package]
    return call(install, env=env) == 0
