"""Runs commands and prints messages. This folder uses the standard library only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WINDOWS = os.name == "nt"


class Unavailable(Exception):
    """Something that a command needs is missing; the message says what to do about it."""


def say(text: str) -> None:
    print(f"dev: {text}", file=sys.stderr, flush=True)


def call(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> int:
    return subprocess.call([str(part) for part in command], cwd=ROOT, env=env)


def output(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, timeout: float = 120
) -> str | None:
    """The output of the command, or None if it can't be run, fails or times out."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def become(command: Sequence[str | Path]) -> int:
    """Replace this process by the command, so that signals reach it directly."""
    if WINDOWS:
        return call(command)
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execv(command[0], [str(part) for part in command])
