"""Makes the vendored files of the chat page's Markdown, from what npm and Python have.

    python .ci/vendored.py            whether the files are what is made
    python .ci/vendored.py --write    writes them; then the README beside them needs their hashes

The package of markdown-it is one file with one export, a class that has everything: HTML, a
renderer, typography. What is made here exports the parts that the page needs, one by one.
"""

from __future__ import annotations

import html.entities
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping

import javascript
from shell import ROOT, Unavailable, say

VENDOR = ROOT / "agentws" / "web" / "vendor"
PACKAGE = javascript.FOLDER / "node_modules" / "markdown-it"
REST = "//#region src/markdownit.ts\n"
"""Where the class begins that has everything. What follows is left out."""
RENDERER = "//#region src/renderer.ts\n"
"""What begins the other part that is left out."""
EXPORTS = """export {
  ParserBlock, ParserInline, Token, linkify$1 as linkify, normalizeReference, parseLinkDestination,
  parseLinkLabel, parseLinkTitle, text_join as joinTexts, unescapeAll,
};
"""
REPLACED = {
    'import * as mdurl from "mdurl";\n': "",
    'import { LinkifyIt } from "linkify-it";\n': "",
    'import punycode from "punycode.js";\n': "",
    # The expressions of the package, which are written out for engines without \\p.
    'import * as ucmicro from "uc.micro";\n': "const ucmicro = { P: /\\p{P}/u, S: /\\p{S}/u };\n",
    "\tmdurl,\n\tucmicro\n": "\tucmicro\n",
    'from "entities";\n': 'from "../page/references.js";\n',
    # A plain assignment: nothing here has a setter, and its helpers are left out.
    "\treturn (r = toPropertyKey(r)) in e ? Object.defineProperty(e, r, {\n\t\tvalue: t,\n"
    "\t\tenumerable: !0,\n\t\tconfigurable: !0,\n\t\twritable: !0\n\t}) : e[r] = t, e;\n": (
        "\te[r] = t;\n"
    ),
    # A cell beyond the last column is shown, although GitHub leaves it out.
    "i < columnCount; i++) {\n\t\t\tconst token_tdo": (
        "i < columnCount || i < columns.length; i++) {\n\t\t\tconst token_tdo"
    ),
    # What is nested too deep is shown as a paragraph, by the last rule.
    "\t\t\tif (state.level >= maxNesting) {\n\t\t\t\tstate.line = endLine;\n\t\t\t\tbreak;\n"
    "\t\t\t}\n": "",
    "let i = 0; i < len; i++) {\n\t\t\t\tok = rules[i](state, line,": (
        "let i = state.level < maxNesting ? 0 : len - 1; i < len; i++) {\n"
        "\t\t\t\tok = rules[i](state, line,"
    ),
    # HTML stays text.
    '\t["html_inline", html_inline],\n': "",
    '\t[\n\t\t"html_block",\n\t\thtml_block,\n\t\t[\n\t\t\t"paragraph",\n\t\t\t"reference",\n'
    '\t\t\t"blockquote"\n\t\t]\n\t],\n': "",
}
"""What is replaced in the source; each is there once."""


def parser() -> str:
    """The module of the parser. Raises Unavailable, and ValueError for another source."""
    command = [*map(str, javascript.tool("esbuild", "esbuild")), "--bundle", "--minify"]
    command += ["--format=esm", "--external:../page/references.js", "--log-level=warning"]
    # The comment of the licence is at the top of the source.
    command += ["--legal-comments=inline"]
    source = (PACKAGE / "dist" / "markdown-it.mjs").read_text("utf-8").partition(REST)[0]
    before, _, after = source.partition(RENDERER)
    source = before + after.partition("//#endregion\n")[2]
    for old, new in REPLACED.items():
        if source.count(old) != 1:
            raise ValueError(f"markdown-it has {old!r} {source.count(old)} times; expected once")
        source = source.replace(old, new)
    done = subprocess.run(
        command, input=source + EXPORTS, cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout


def references() -> str:
    """The module of all named character references of HTML."""
    table = {name[:-1]: text for name, text in html.entities.html5.items() if name[-1] == ";"}
    return f"export const NAMES = '{encoded(table)}';\n"


def encoded(table: Mapping[str, str]) -> str:
    """As `readNames` of `page/references.js` reads it."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name, text in sorted(table.items()):
        names[text].append(name)
    words: list[str] = []
    following = ""
    for text, (first, *others) in sorted(names.items()):
        if text != following:
            words.append("+".join(str(ord(character)) for character in text))
        words += [first, *(f"={other}" for other in others)]
        following = chr(ord(text) + 1) if len(text) == 1 else ""
    return " ".join(words)


def made() -> dict[str, str]:
    """The files by their names in the folder of vendored files. Raises Unavailable."""
    return {"markdown-it.js": parser(), "references.js": references()}


def main(arguments: list[str]) -> int:
    try:
        files = made()
    except Unavailable as error:
        say(str(error))
        return 1
    if arguments == ["--write"]:
        for name, text in files.items():
            (VENDOR / name).write_text(text, "utf-8")
        return 0
    other = [name for name, text in files.items() if (VENDOR / name).read_text("utf-8") != text]
    print("\n".join(f"{name} is not what is made" for name in other) or "The files are as made.")
    return 1 if other else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
