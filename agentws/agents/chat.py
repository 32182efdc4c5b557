"""An agent that is a language model and nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from ..protocol.messages import TokenUsage
from .agent import Agent, RunContext
from .llm import LLM
from .output import Output
from .prompt import enough_history, prompt
from .speakers import as_read_by


class ChatAgent(Agent):
    """Answers every message with what ``llm`` generates for the conversation so far.

    The prompt holds the newest whole turns that fit ``history_budget`` (approximate tokens, a
    quarter of the bytes), and always the message to be answered. Cancelling the run closes the
    request to the provider. Any number of agents may share ``llm``; its maker closes it.
    """

    def __init__(
        self, llm: LLM, *, instructions: str | None = None, history_budget: int = 32_000
    ) -> None:
        self.llm = llm
        self.instructions = instructions
        self.history_budget = history_budget

    async def run(self, ctx: RunContext) -> AsyncGenerator[Output, None]:
        budget = self.history_budget
        history = as_read_by(ctx, await enough_history(ctx, budget=budget))
        messages = prompt(history, budget=budget)
        async with aclosing(self.llm.stream(messages, instructions=self.instructions)) as answer:
            async for piece in answer:
                if isinstance(piece, TokenUsage):
                    ctx.report_usage(piece)
                else:
                    yield piece
