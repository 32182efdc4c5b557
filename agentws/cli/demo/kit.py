"""The tools of the demo agent. None of them does anything outside of the conversation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

import anyio
import msgspec

from ...agents.run_context import RunContext
from ...agents.tools import tool
from ...errors import AgentError

STEPS: Final = 4
WORDS_PER_STEP: Final = 10
"""A step takes as long as so many words: a page must look right meanwhile."""


class Kit:
    """Tools that take their time. ``pace`` is in seconds per word."""

    def __init__(self, pace: float) -> None:
        self._step = pace * WORDS_PER_STEP

    @tool
    async def clock(self, ctx: RunContext, timezone: str = "UTC") -> dict[str, str]:
        """Returns the time of the server."""
        for number in range(1, STEPS + 1):
            ctx.progress("Looking at the clock", done=number, total=STEPS)
            await anyio.sleep(self._step)
        return {"time": f"{datetime.now(UTC):%H:%M:%S}", "timezone": timezone}

    @tool
    async def price(self, ctx: RunContext, fruit: str) -> float:
        """Returns the price of a fruit."""
        prices = {"apple": 3.0, "pear": 4.5}
        ctx.progress(f"Asking for the price of a {fruit}")
        await anyio.sleep(self._step * len(fruit))
        if fruit not in prices:
            raise AgentError(f"Nobody sells a {fruit}.")
        return prices[fruit]

    @tool(approve=True)
    async def postcard(
        self,
        to: Annotated[str, msgspec.Meta(description="who gets it", min_length=1)],
        text: Annotated[str, msgspec.Meta(description="what it says", max_length=200)],
    ) -> str:
        """Sends a postcard. It is not really sent."""
        await anyio.sleep(self._step)
        return f"To {to}: {text}"
