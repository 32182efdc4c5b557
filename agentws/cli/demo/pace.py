"""Writes as a hosted model does: word by word."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import anyio

from ...agents.output import Output
from ...agents.run_context import RunContext
from ...testing.fakellm import words

Show = Callable[[RunContext, float], AsyncGenerator[Output, None]]
"""One demonstration; the number is the seconds between two words."""


async def write(text: str, pace: float) -> AsyncGenerator[str, None]:
    for word in words(text):
        yield word
        await anyio.sleep(pace)
