"""What calls and questions need of the context of their run."""

from __future__ import annotations

from typing import Protocol

from .context import SessionContext
from .output import RunOutput
from .steps import Work


class Caller(Protocol):
    """The context of a run, or of one call in it."""

    @property
    def output(self) -> RunOutput: ...

    @property
    def work(self) -> tuple[Work, ...]:
        """The calls that this context is inside of, the outermost first."""

    def within(self, work: Work) -> SessionContext:
        """The context for a tool that is called."""
