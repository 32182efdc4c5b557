"""The command in a process forked from one that has imported it: it starts in a few milliseconds.

For tests of what happens before it serves or connects. It has the files and variables of a process
of its own, but not the start of an interpreter.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from agentws.cli import main

IMPORTED = (__name__, "agentws.cli.chat", "agentws.cli.serve", "agentws.bench")
STREAMS = (("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY))


def run(
    arguments: list[str], folder: Path, *, input: str, env: Mapping[str, str], patience: float
) -> subprocess.CompletedProcess[str]:
    """Runs it in ``folder``, where it leaves its streams as files."""
    for name, text in (("stdin", input), ("stdout", ""), ("stderr", "")):
        (folder / name).write_text(text)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    process = context.Process(target=_become, args=(arguments, folder, dict(env)), daemon=True)
    process.start()
    process.join(patience)
    assert process.exitcode is not None, f"it still runs: {arguments}"
    output, errors = ((folder / name).read_text() for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(arguments, process.exitcode, output, errors)


def _become(arguments: list[str], folder: Path, env: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    for descriptor, (name, flags) in enumerate(STREAMS):
        os.dup2(os.open(name, flags), descriptor)
    # multiprocessing has closed the one that the interpreter made.
    sys.stdin = open(0, closefd=False)
    sys.path.insert(0, str(folder))
    sys.exit(main(arguments))
