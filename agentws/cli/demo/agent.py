"""The demo agent, and the poet, which it works with."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from ...agents.agent import Agent
from ...agents.chat import ChatAgent
from ...agents.commands import Command, CommandContext
from ...agents.llm import LLM
from ...agents.output import Output
from ...agents.run_context import RunContext
from ...agents.sharing import StateChange
from ...errors import AgentError, BadRequest
from ...protocol.messages import UserMessage
from . import showing, talking
from .pace import Show, write
from .texts import CHAPTER, CHAPTERS, INSTRUCTIONS, INTRO, MARKDOWN, PACE

BACK: Final = "back"


class Demo(Agent):
    """Answers each word of ``INTRO`` with a demonstration, and everything else with ``llm``."""

    def __init__(self, llm: LLM, *, pace: float = PACE) -> None:
        self._chat = ChatAgent(llm, instructions=INSTRUCTIONS)
        self._pace = pace

    async def run(self, ctx: RunContext) -> AsyncGenerator[Output, None]:
        async for word in write(showing.received(ctx.attachments), self._pace):
            yield word
        async with aclosing(self._answer(ctx)) as answer:
            async for piece in answer:
                yield piece

    def _answer(self, ctx: RunContext) -> AsyncGenerator[Output, None]:
        said = said_to(ctx).lower()
        if said in SHOWS:
            return SHOWS[said](ctx, self._pace)
        if ctx.handed_over is not None:
            return intro(ctx, self._pace)
        return self._chat.run(ctx) if said else nothing(ctx, self._pace)

    def accepts_state(self, change: StateChange) -> bool:
        """Clients may change the shared list, as long as it is one."""
        things = showing.things_of(change.after)
        if things is not None and len(things) > showing.MOST_THINGS:
            raise AgentError(f"The list has room for {showing.MOST_THINGS} things.")
        return things is not None

    def commands(self) -> Sequence[Command]:
        return (
            Command("roll", "Rolls a die: /roll, or /roll 20 for one with 20 sides", _roll),
            Command("count", "Counts what was said so far", _count),
        )


class Poet(Agent):
    """Writes a verse about whatever it is told, and gives the conversation back when asked to."""

    def __init__(self, *, pace: float = PACE, home: str) -> None:
        self._pace = pace
        self._home = home

    async def run(self, ctx: RunContext) -> AsyncGenerator[Output, None]:
        if ctx.handed_over is not None:
            text = f"I am the poet. {ctx.handed_over.reason} Give me a word, or type `{BACK}`."
        elif said_to(ctx).lower() == BACK:
            await ctx.handoff(self._home, "The user wants to go back.")
            return
        else:
            text = verse(said_to(ctx))
        async for word in write(text, self._pace):
            yield word


def verse(about: str) -> str:
    subject = about[:80] or "nothing"
    return f"I was told of {subject}:\nit came, it stayed a while,\nand left without a name."


def said_to(ctx: RunContext) -> str:
    """What the user wrote, without a mention of the agent that answers."""
    text = ctx.text.strip()
    mention = f"@{ctx.agent}"
    found = text.lower().startswith(mention.lower())
    return text[len(mention) :].strip() if found else text


async def intro(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    async for word in write(INTRO, pace):
        yield word


async def markdown(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    async for word in write(MARKDOWN, pace):
        yield word


async def long(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    for number in range(1, CHAPTERS + 1):
        async for word in write(CHAPTER.format(number=number, total=CHAPTERS), pace):
            yield word


async def nothing(ctx: RunContext, pace: float) -> AsyncGenerator[Output, None]:
    async for word in write("Type `demo` to see what I can show.", pace):
        yield word


SHOWS: Final[Mapping[str, Show]] = {
    "demo": intro,
    "markdown": markdown,
    "long": long,
    "steer": talking.steer,
    "tool": talking.tool,
    "parallel": talking.parallel,
    "approve": talking.approve,
    "ask": talking.ask,
    "form": talking.form,
    "locate": talking.locate,
    "reason": showing.reason,
    "sources": showing.sources,
    "chart": showing.chart,
    "state": showing.state,
    "file": showing.file,
    "delegate": talking.delegate,
    "handoff": talking.handoff,
    "error": talking.error,
}


async def _roll(ctx: CommandContext, args: str) -> str:
    sides = int(args) if args.isdecimal() and len(args) < 7 else 6 if not args else 0
    if sides < 2:
        raise BadRequest("That is not a die.", expected="a number of sides from 2 to 999999")
    return f"You rolled {random.randint(1, sides)} of {sides}."


async def _count(ctx: CommandContext, args: str) -> str:
    history = await ctx.history()
    yours = sum(isinstance(message, UserMessage) for message in history)
    return f"{len(history)} messages so far, {yours} of them from you."


def demo_agents(
    llm: LLM, *, pace: float = PACE, name: str = "demo"
) -> dict[str, Callable[[], Agent]]:
    """The agents for the gateway, the demo agent under ``name`` first.

    ``llm`` chats; ``pace`` is in seconds per word. Raises ValueError for the name of the poet.
    """
    if name == talking.POET:
        raise ValueError(f"{name} is another agent of the demo; expected another name")
    return {
        name: lambda: Demo(llm, pace=pace),
        talking.POET: lambda: Poet(pace=pace, home=name),
    }
