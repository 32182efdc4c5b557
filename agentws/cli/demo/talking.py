"""Demonstrations of what an agent, people and clients do to each other during a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Final, Literal

import anyio
import msgspec

from ...agents.output import Output
from ...agents.run_context import RunContext
from ...errors import AgentError, AskDeclined, AskExpired, DelegateFailed, ToolDenied, ToolError
from ...protocol.messages import text_of
from .kit import Kit
from .pace import write

HOUR: Final = 3600.0
LOCATING: Final = 30.0
"""Seconds in which a client may say where it is."""
DELEGATED: Final = 60.0
"""Seconds in which the poet must have written."""
PLACES: Final = ("Rome", "Oslo", "Lima", "Kyoto", "Quito", "Turku", "Accra", "Perth")
POET: Final = "poet"


class Trip(msgspec.Struct):
    city: Annotated[str, msgspec.Meta(title="City", min_length=1, max_length=80)]
    nights: Annotated[int, msgspec.Meta(title="Nights", ge=1, le=30)]
    room: Annotated[Literal["single", "double"], msgspec.Meta(title="Room")] = "single"
    breakfast: Annotated[bool, msgspec.Meta(title="Breakfast")] = True


async def tool(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    async for word in write("Let me look at the server's clock.", pace):
        yield word
    found = await ctx.call(Kit(pace).clock)
    async for word in write(f"It is **{found['time']}** there, in UTC.", pace):
        yield word


async def parallel(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    kit, fruits = Kit(pace), ("apple", "pear", "stone")
    calls = [ctx.call(kit.price, fruit=fruit) for fruit in fruits]
    results = await asyncio.gather(*calls, return_exceptions=True)
    for fruit, result in zip(fruits, results, strict=True):
        if isinstance(result, BaseException) and not isinstance(result, ToolError):
            raise result
        said = result.message if isinstance(result, ToolError) else f"It costs {result:g}."
        async for word in write(f"- {fruit}: {said}\n", pace):
            yield word


async def approve(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    async for word in write("I would like to send a postcard. It needs your approval.", pace):
        yield word
    try:
        sent = await ctx.call(Kit(pace).postcard, to="Ada", text="The weather is fine.")
        said = f"Done. {sent}"
    except ToolDenied as denied:
        said = f"Then I don't. {denied.message}"
    async for word in write(said, pace):
        yield word


async def ask(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    try:
        size = await ctx.ask("Which size?", choices=["small", "medium", "large"], expires=HOUR)
        said = f"A {size} one, then."
    except (AskDeclined, AskExpired) as none:
        said = f"No size, then. {none.message}"
    async for word in write(said, pace):
        yield word


async def form(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    try:
        trip = await ctx.ask("Where do you want to go?", schema=Trip, expires=HOUR)
        food = "with" if trip.breakfast else "without"
        said = f"**{trip.city}**, {trip.nights} nights, a {trip.room} room {food} breakfast."
    except (AskDeclined, AskExpired) as none:
        said = f"No trip, then. {none.message}"
    async for word in write(said, pace):
        yield word


async def locate(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    async for word in write("I ask your client for its location.", pace):
        yield word
    try:
        place = await ctx.client_tool("get_location", timeout=LOCATING)
        said = f"You are here: {text_of(place)[:500]}"
    except ToolError as error:
        said = f"I don't know where you are. {error.message}"
    async for word in write(said, pace):
        yield word


async def steer(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    async for word in write("I look at many cities. Steer me meanwhile. ", pace):
        yield word
    for place in PLACES:
        async for word in write(f"{place} is worth a visit.\n\n", pace):
            yield word
        await anyio.sleep(pace * 50)
        for message in await ctx.steered():
            async for word in write(f"Understood: {text_of(message.content)}\n\n", pace):
                yield word


async def delegate(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    async for word in write("I have the poet write something.", pace):
        yield word
    try:
        verse = await ctx.delegate(POET, "the rain", timeout=DELEGATED)
        quoted = "\n".join(f"> {line}" for line in str(verse).splitlines())
        said = f"It wrote:\n\n{quoted}"
    except DelegateFailed as failed:
        said = f"It did not work. {failed.message}"
    async for word in write(said, pace):
        yield word


async def handoff(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    async for word in write("The poet takes over from here.", pace):
        yield word
    await ctx.handoff(POET, "The user wants to see a handoff.")


async def error(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    async for word in write("This answer is about to fail, and says so", pace):
        yield word
    raise AgentError("This is the error you asked for. What was written before it stays.")
