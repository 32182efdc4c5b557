"""The agent of ``agentws demo``: shows what the gateway can do, with or without an API key."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

import anyio

from ..agents.agent import Agent, RunContext
from ..agents.chat import ChatAgent
from ..agents.commands import Command, CommandContext
from ..agents.llm import LLM
from ..agents.output import Output
from ..errors import AgentError, BadRequest
from ..protocol.events import ToolCallArgs, ToolCallEnd, ToolCallResult, ToolCallStart
from ..protocol.messages import UserMessage
from ..testing.fakellm import Reply, ScriptedLLM, Turn, words

PACE = 0.03
"""Seconds between words: as fast as a hosted model writes."""

INTRO = """\
I am the demo agent. Type one of these words:

- `markdown` – an answer with everything in it
- `tool` – a tool call and its result
- `long` – a long answer: stop it, reload the page, or open it in a second tab
- `error` – a run that fails
- `demo` – this list

`/help` lists the commands; `/roll 20` and `/count` are mine. Anything else is a chat.
"""

INSTRUCTIONS = (
    "You are the demo agent of agentws, a gateway that puts agents behind a WebSocket. "
    "Be brief and friendly, and write Markdown. The user may type `demo` to see what you can show."
)

MARKDOWN = """\
## What an answer can hold

Text with *emphasis*, **strong** words, `code` and a [link](https://example.com).

1. Lists with numbers
2. and lists within:
   - one
   - two

| wire | for |
|---|---|
| native | pages and apps |
| simple | everything else |

```python
class Echo(Agent):
    async def run(self, ctx):
        for word in ctx.text.split():
            yield word + " "
```

> Reload this page while it is still being written: it goes on where it was.
"""

CHAPTERS = 40
CHAPTER = (
    "**{number} of {total}.** This paragraph is part of a long answer. Close the page, cut the "
    "network or open a second tab: the run goes on, and every word of it is waiting.\n\n"
)

Show = Callable[["Demo", RunContext], AsyncGenerator[Output, None]]


class Demo(Agent):
    """Answers each word of ``INTRO`` with a demonstration, and everything else with ``llm``."""

    def __init__(self, llm: LLM, *, pace: float = PACE) -> None:
        self._chat = ChatAgent(llm, instructions=INSTRUCTIONS)
        self._pace = pace

    async def run(self, ctx: RunContext) -> AsyncGenerator[Output, None]:
        show = SHOWS.get(ctx.text.strip().lower())
        async with aclosing(show(self, ctx) if show else self._chat.run(ctx)) as answer:
            async for piece in answer:
                yield piece

    def commands(self) -> Sequence[Command]:
        return (
            Command("roll", "Rolls a die: /roll, or /roll 20 for one with 20 sides", _roll),
            Command("count", "Counts what was said so far", _count),
        )

    async def intro(self, ctx: RunContext) -> AsyncGenerator[Output, None]:
        async for word in self._write(INTRO):
            yield word

    async def markdown(self, ctx: RunContext) -> AsyncGenerator[Output, None]:
        async for word in self._write(MARKDOWN):
            yield word

    async def long(self, ctx: RunContext) -> AsyncGenerator[Output, None]:
        for number in range(1, CHAPTERS + 1):
            async for word in self._write(CHAPTER.format(number=number, total=CHAPTERS)):
                yield word

    async def error(self, ctx: RunContext) -> AsyncGenerator[Output, None]:
        async for word in self._write("This answer is about to fail, and says so"):
            yield word
        raise AgentError("This is the error you asked for. What was written before it stays.")

    async def tool(self, ctx: RunContext) -> AsyncGenerator[Output, None]:
        async for word in self._write("Let me look at the server's clock."):
            yield word
        call = f"call_{uuid.uuid4().hex}"
        yield ToolCallStart(tool_call_id=call, tool_call_name="clock")
        for delta in ('{"timezone": ', '"UTC"}'):
            await anyio.sleep(self._pace)
            yield ToolCallArgs(tool_call_id=call, delta=delta)
        yield ToolCallEnd(tool_call_id=call)
        # A tool call takes time, and a page must look right meanwhile.
        await anyio.sleep(self._pace * 20)
        time = f"{datetime.now(UTC):%H:%M:%S}"
        result = f'{{"time": "{time}"}}'
        yield ToolCallResult(message_id=f"{call}-result", tool_call_id=call, content=result)
        async for word in self._write(f"It is **{time}** there, in UTC."):
            yield word

    async def _write(self, text: str) -> AsyncGenerator[str, None]:
        for word in words(text):
            yield word
            await anyio.sleep(self._pace)


SHOWS: Mapping[str, Show] = {
    "demo": Demo.intro,
    "markdown": Demo.markdown,
    "tool": Demo.tool,
    "long": Demo.long,
    "error": Demo.error,
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


def demo_agent(llm: LLM, *, pace: float = PACE) -> Callable[[], Demo]:
    """An agent factory for the gateway. ``llm`` chats; ``pace`` is in seconds per word."""
    return lambda: Demo(llm, pace=pace)


def offline_llm(*, pace: float = PACE) -> LLM:
    """A scripted stand-in for a model, which needs no key: it repeats what it was told."""

    def converse(turns: Sequence[Turn]) -> Reply:
        return Reply(_small_talk([turn.text for turn in turns if turn.role == "user"]), delay=pace)

    return ScriptedLLM(converse, model="offline")


def _small_talk(said: Sequence[str]) -> str:
    heard = f"You said: {said[-1].strip()[:200] or '(nothing)'}\n\n"
    if len(said) == 1:
        return f"{heard}No model is connected, so that is all the wit I have. {INTRO}"
    return f"{heard}That was your message number {len(said)}; the first was: {said[0][:200]}"


def llm_from(environment: Mapping[str, str]) -> tuple[LLM, str]:
    """The model that ``environment`` has a key for, or the offline one; and a note that names it.

    Reads ``OPENAI_API_KEY``, ``OPENAI_BASE_URL``, ``OPENAI_MODEL``, ``ANTHROPIC_API_KEY``,
    ``ANTHROPIC_BASE_URL`` and ``ANTHROPIC_MODEL``; OpenAI comes first.
    """
    for key, connect in (("OPENAI_API_KEY", _openai), ("ANTHROPIC_API_KEY", _anthropic)):
        if not environment.get(key):
            continue
        try:
            return connect(environment)
        except ImportError as missing:
            return offline_llm(), f"Chats with an offline stand-in, though {key} is set: {missing}"
    without = "Chats with an offline stand-in; set OPENAI_API_KEY or ANTHROPIC_API_KEY for a model."
    return offline_llm(), without


def _openai(environment: Mapping[str, str]) -> tuple[LLM, str]:
    from ..integrations.openai import OpenAIChat

    model = environment.get("OPENAI_MODEL") or "gpt-5.4-mini"
    llm = OpenAIChat(
        model,
        api_key=environment["OPENAI_API_KEY"],
        base_url=environment.get("OPENAI_BASE_URL") or None,
    )
    return llm, f"Chats with {model} of OpenAI."


def _anthropic(environment: Mapping[str, str]) -> tuple[LLM, str]:
    from ..integrations.anthropic import AnthropicMessages

    model = environment.get("ANTHROPIC_MODEL") or "claude-haiku-5-5"
    llm = AnthropicMessages(
        model,
        api_key=environment["ANTHROPIC_API_KEY"],
        base_url=environment.get("ANTHROPIC_BASE_URL") or None,
    )
    return llm, f"Chats with {model} of Anthropic."


__all__ = ["INTRO", "Demo", "demo_agent", "llm_from", "offline_llm"]
