"""The checks of the JavaScript, with tools from npm in .tools.

    python .ci/javascript.py format            whether prettier would change a file
    python .ci/javascript.py format --write    let it
    python .ci/javascript.py types             tsc --checkJs: sources, tests, shipped declarations
    python .ci/javascript.py size              bytes of client and page, minified and gzipped

npm gets exact versions, so there is no lock file. Settings: .prettierrc.json, tsconfig.json.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from packages import TOOLS
from services import SYSTEM_CERTIFICATES, find_node, npm_command
from shell import ROOT, Unavailable, call, say

FOLDER = TOOLS / "javascript"
PACKAGES = (
    "@types/node@26.6.6",
    "@types/react@19.3.0",
    "csstype@3.2.4",
    "esbuild@0.28.2",
    "markdown-it@15.0.3",
    "prettier@3.10.1",
    "typescript@7.0.2",
    "undici-types@8.12.4",
)
"""Those that the others need are named too, so that their versions are fixed."""
FORMATTED = (
    ".prettierrc.json",
    "tsconfig.json",
    "agentws/web/**/*.{js,ts}",
    "!agentws/web/vendor/**",
    "tests/web/**/*.{mjs,ts}",
    "examples/**/*.{js,jsx}",
)
PROJECTS = ("tsconfig.json", "tests/web/tsconfig.json")
WEB = ROOT / "agentws" / "web"
LATER = "../vendor/references.js"
"""What the page loads only when a text needs it."""
# An error, with the indented lines that explain it.
_VENDORED = re.compile(r"^agentws/web/vendor/.*\n(?:[ \t].*\n)*", re.MULTILINE)


def tool(package: str, program: str) -> list[str | Path]:
    """The command that runs a program of a package, installed where it is missing.

    Raises Unavailable.
    """
    node = find_node()
    install(node)
    return [node, FOLDER / "node_modules" / package / "bin" / program]


def install(node: Path) -> None:
    """Raises Unavailable."""
    wanted = "\n".join(PACKAGES)
    stamp = FOLDER / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    npm = npm_command(node)
    if not npm:
        raise Unavailable("the JavaScript can't be checked: there is no npm; install Node with npm")
    say("installing the tools that check the JavaScript into .tools")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    env = dict(os.environ)
    # Node has its own list of certificates; a proxy's certificate is in the system's.
    if SYSTEM_CERTIFICATES.exists():
        env.setdefault("NODE_EXTRA_CA_CERTS", str(SYSTEM_CERTIFICATES))
    options = ["--silent", "--ignore-scripts", "--no-package-lock", "--prefix", str(FOLDER)]
    if call([*npm, "install", *options, *PACKAGES], env=env) != 0:
        raise Unavailable("the JavaScript can't be checked: npm could not install its tools")
    stamp.write_text(wanted)


def check_format(arguments: list[str]) -> int:
    return call([*tool("prettier", "prettier.cjs"), *(arguments or ["--check"]), *FORMATTED])


def check_types() -> int:
    compiler = tool("typescript", "tsc")
    errors = "".join(type_errors([*compiler, "-p", each]) for each in PROJECTS)
    print(errors or "All matched files have the types that they declare.")
    return 1 if errors else 0


def type_errors(command: Sequence[str | Path]) -> str:
    """What tsc printed, without the vendored files, which it checks because others import them."""
    arguments = [str(part) for part in (*command, "--pretty", "false")]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    errors = _VENDORED.sub("", done.stdout)
    return errors if done.returncode in (0, 1, 2) else errors + done.stderr + "tsc failed\n"


def client_size() -> int:
    """Bytes of the browser client as one file, minified and gzipped. Raises Unavailable."""
    return len(gzip.compress(minified(WEB / "client.js"), mtime=0))


def page_sizes() -> dict[str, int]:
    """Bytes of what the page loads at once, each kind as one file, minified and gzipped.

    Raises Unavailable.
    """
    page = (WEB / "index.html").read_bytes()
    styles = re.findall(rb'rel="stylesheet" href="web/([^"]+)"', page)
    whole = b"".join(minified(WEB / name.decode()) for name in styles)
    kinds = {"html": page, "css": whole, "js": minified(WEB / "page.js")}
    return {kind: len(gzip.compress(content, mtime=0)) for kind, content in kinds.items()}


def minified(source: Path) -> bytes:
    """A script with all that it imports, or a stylesheet. Raises Unavailable."""
    options = ["--bundle", "--minify", "--format=esm", "--log-level=warning", f"--external:{LATER}"]
    command = [*map(str, tool("esbuild", "esbuild")), str(source), *options]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout


def main(arguments: list[str]) -> int:
    try:
        match arguments:
            case ["format", *options]:
                return check_format(options)
            case ["types"]:
                return check_types()
            case ["size"]:
                sizes = page_sizes()
                print(f"client {client_size()}, page {sum(sizes.values())}: {sizes}")
                return 0
    except Unavailable as error:
        say(str(error))
        return 1
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
