"""Scripted agents: they do what a test tells them, including everything an agent must not do.

::

    gate = Gate()
    script = Script("Hello ", gate, "world")
    gateway = mount_agent_gateway(app, script)
    ...
    await gate.reached()      # the agent waits there
    gate.open()               # and continues
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from ..agents.agent import Agent
from ..agents.output import Output
from ..agents.run_context import RunContext
from ..protocol.events import Event
from .line import WITHIN


class Gate:
    """A point where an agent waits until the test opens it. Once open, it stays open."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._open = asyncio.Event()

    async def reached(self, *, within: float = WITHIN) -> None:
        """Returns when an agent waits at the gate."""
        try:
            async with asyncio.timeout(within):
                await self._reached.wait()
        except TimeoutError:
            raise AssertionError(f"no agent reached the gate within {within} s") from None

    def open(self) -> None:
        """Lets the agents at the gate go on, and all later ones."""
        self._open.set()

    async def wait(self) -> None:
        """Waits at the gate; called by the agent."""
        self._reached.set()
        await self._open.wait()


class Sleep:
    """Waits that many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Raise:
    """Raises ``error`` in the middle of the run."""

    def __init__(self, error: BaseException | type[BaseException]) -> None:
        self.error = error


class IgnoreCancel:
    """Waits at ``gate`` and ignores every cancellation until it is opened (a zombie)."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.swallowed = 0

    async def wait(self) -> None:
        while True:
            try:
                return await self.gate.wait()
            except asyncio.CancelledError:
                self.swallowed += 1


class Yield:
    """Yields ``items``, which may be of any type."""

    def __init__(self, *items: Any) -> None:
        self.items = items


class Hang:
    """Waits until it is cancelled."""


class Call:
    """Awaits a function of the run's context; yields what it returns, unless that is ``None``."""

    def __init__(self, function: Callable[[RunContext], Awaitable[Any]]) -> None:
        self.function = function


Step = str | Event | Gate | Sleep | Raise | IgnoreCancel | Yield | Hang | Call


class ScriptedAgent(Agent):
    """Executes the same steps in every run."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps

    async def run(self, ctx: RunContext) -> AsyncIterator[Output]:
        for step in self._steps:
            async for item in _follow(step, ctx):
                yield item


async def _follow(step: Step, ctx: RunContext) -> AsyncIterator[Any]:
    match step:
        case str() | Event():
            yield step
        case Gate() | IgnoreCancel():
            await step.wait()
        case Sleep(seconds=seconds):
            await asyncio.sleep(seconds)
        case Raise(error=error):
            raise error
        case Yield(items=items):
            for item in items:
                yield item
        case Hang():
            await asyncio.get_running_loop().create_future()
        case Call(function=function):
            result = await function(ctx)
            if result is not None:
                yield result


class Script:
    """An agent factory: each run executes ``steps``, or ``named[text]`` for that message.

    ``runs`` are the contexts of all runs so far, in order.
    """

    def __init__(self, *steps: Step, named: Mapping[str, Sequence[Step]] | None = None) -> None:
        self._steps = steps
        self._named = named or {}
        self.runs: list[RunContext] = []

    def __call__(self) -> Agent:
        return _Recording(self)

    def steps_for(self, ctx: RunContext) -> Sequence[Step]:
        """The steps of a run, which is added to ``runs``."""
        self.runs.append(ctx)
        return self._named.get(ctx.text, self._steps)

    @property
    def texts(self) -> list[str]:
        """The text of the message of each run."""
        return [ctx.text for ctx in self.runs]


class _Recording(Agent):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def run(self, ctx: RunContext) -> AsyncIterator[Output]:
        for step in self._script.steps_for(ctx):
            async for item in _follow(step, ctx):
                yield item
