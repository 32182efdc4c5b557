"""Demonstrations of what an agent shows besides text: reasoning, sources, parts, state, files."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Final

import anyio

from ...agents.files import Attachment
from ...agents.output import Output
from ...agents.run_context import RunContext
from ...testing.fakellm import words
from .pace import write

THOUGHT: Final = (
    "The user wants to see reasoning. So I think aloud for a while, and a page folds it. "
    "Then I answer."
)
GROWTH: Final = 4
THINGS: Final = ("bread", "apples", "coffee", "olives", "paper", "soap")
MOST_THINGS: Final = 50


async def reason(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    for word in words(THOUGHT):
        ctx.reason(word)
        await anyio.sleep(pace)
    async for word in write("I have thought about it, and this is the answer.", pace):
        yield word


async def sources(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    agui = ctx.cite("https://docs.ag-ui.com/", "The AG-UI protocol")
    patch = ctx.cite(
        "https://www.rfc-editor.org/rfc/rfc6902",
        "RFC 6902: JavaScript Object Notation (JSON) Patch",
        excerpt="JSON Patch defines a JSON document structure for expressing a sequence of "
        "operations to apply to a JSON document.",
    )
    text = (
        f"The events of a run are those of AG-UI [{agui}]. State changes by JSON Patch [{patch}]."
    )
    async for word in write(text, pace):
        yield word


async def chart(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    async for word in write("Here are the harvests of four years, as they come in.", pace):
        yield word
    bars: list[dict[str, Any]] = []
    part: str | None = None
    for number in range(1, GROWTH + 1):
        bars.append({"label": str(2020 + number), "value": 7 * number % 12})
        part = ctx.show("chart", {"title": "Harvest", "unit": "t", "bars": bars}, id=part)
        await anyio.sleep(pace * 10)


async def state(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    known = things_of(ctx.state)
    if known is None:
        ctx.set_state({"title": "Shopping", "items": [THINGS[0]]})
        text = f"I began a list with {THINGS[0]}. Change it, or type `state` again."
    elif len(known) >= MOST_THINGS:
        text = "The list is full. Remove something from it."
    else:
        new = next((one for one in THINGS if one not in known), f"thing {len(known) + 1}")
        ctx.patch_state([{"op": "add", "path": "/items/-", "value": new}])
        text = f"I added {new}. Before that, the list had {len(known)}: {_listed(known)}."
    async for word in write(text, pace):
        yield word


def things_of(state: Any) -> list[Any] | None:
    """The items of the shared list; ``None`` if the state is no such list."""
    items = state.get("items") if isinstance(state, dict) else None
    return items if isinstance(items, list) else None


def _listed(things: Sequence[Any]) -> str:
    return ", ".join(str(one)[:40] for one in things) or "nothing"


async def file(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    async for word in write("I am writing a report.", pace):
        yield word
    made = await ctx.write_file("harvest.csv", _rows(pace), type="text/csv")
    async for word in write(f" It is {made.name}, {made.size} bytes.", pace):
        yield word


async def _rows(pace: float) -> AsyncIterator[bytes]:
    yield b"year,tons\n"
    for number in range(1, GROWTH + 1):
        await anyio.sleep(pace)
        yield f"{2020 + number},{7 * number % 12}\n".encode()


def received(files: Sequence[Attachment]) -> str:
    """One line for each file that was sent."""
    return "".join(f"I got `{one.name}`: {one.type}, {one.size} bytes.\n\n" for one in files)
