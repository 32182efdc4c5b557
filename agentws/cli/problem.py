"""Exit codes, and errors that a user can fix: one line on standard error, never a traceback."""

from __future__ import annotations

from typing import Final

FAILED: Final = 1
USAGE: Final = 2
NOT_STARTED: Final = 3
"""The server could not start: its port is taken, or its application failed to start."""
INTERRUPTED: Final = 130
"""128 + SIGINT, as in shells."""


class Problem(Exception):
    """Ends the command with one line on standard error. ``status`` is the exit code."""

    def __init__(self, message: str, *, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status
