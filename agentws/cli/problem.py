"""What a user can put right: said in one line, never as a traceback."""

from __future__ import annotations

from typing import Final

FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
"""128 + SIGINT, as shells count."""


class Problem(Exception):
    """Ends the command with one line on standard error. ``status`` is the exit code."""

    def __init__(self, message: str, *, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status
