"""An agent that is a language model and the tools that it may call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from ..protocol.messages import Message, TokenUsage
from ..settings import Count, CountOrZero, check_setting
from .agent import Agent
from .attached import AttachedFiles
from .llm import LLM, LLMPiece, LLMRounds
from .output import Output
from .prompt import enough_history, prompt
from .rounds import Round, calls_of, recorded_round
from .run_context import RunContext
from .speakers import as_read_by
from .toolbox import Toolbox
from .tools import Tool


class ChatAgent(Agent):
    """Answers every message with what ``llm`` generates for the conversation so far.

    The prompt holds the newest whole turns that fit ``history_budget`` (approximate tokens, a
    quarter of the bytes), and always the message to be answered. Cancelling the run closes the
    request to the provider. Any number of agents may share ``llm``; its maker closes it.

    The files of the messages in the prompt are given to the model, up to 8 MiB each.

    The model may call ``tools``. It is asked again with their results, in at most ``max_rounds``
    rounds; a run that would need more ends with LLMRounds. The calls of one round run in parallel.
    A call that fails, that is denied, or that does not fit its tool is no failure of the run: the
    model reads why.

    An agent that waits for an approval may be made anew for the answer, on another node. What the
    model said before is then read from the log; the model is not asked for it again.

    A message that steers the run is given to the model in the next round.
    """

    def __init__(
        self,
        llm: LLM,
        *,
        instructions: str | None = None,
        history_budget: int = 32_000,
        tools: Sequence[Tool[..., Any]] = (),
        max_rounds: int = 8,
    ) -> None:
        """Raises TypeError and ValueError for tools that the model can't be given, and for numbers
        out of bounds."""
        check_setting("history_budget", history_budget, CountOrZero)
        check_setting("max_rounds", max_rounds, Count)
        self.llm = llm
        self.instructions = instructions
        self.history_budget = history_budget
        self.max_rounds = max_rounds
        self._tools = Toolbox(tools, llm)

    async def conversation(self, ctx: RunContext) -> list[Message]:
        """The messages that the model is given, oldest first; the last one is to be answered.

        A subclass may add some. Of messages beyond ``history_budget`` the oldest are left out.
        """
        return as_read_by(ctx, await enough_history(ctx, budget=self.history_budget))

    async def run(self, ctx: RunContext) -> AsyncGenerator[Output, None]:
        said, files = [*await self.conversation(ctx)], AttachedFiles(ctx.attachments_of)
        for left in reversed(range(self.max_rounds)):
            messages, steered = recorded_round(await ctx.earlier())
            if not messages:
                await ctx.caught_up()
                said += await ctx.steered()
                answered = Round(largest_seal=ctx.largest_value)
                asked = await files.shown(prompt(said, budget=self.history_budget))
                async with aclosing(self._ask(asked)) as answer:
                    async for piece in answer:
                        if answered.in_text and isinstance(piece, str):
                            answered.continue_text(piece)
                            yield piece
                        elif isinstance(piece, TokenUsage):
                            ctx.report_usage(piece)
                        else:
                            for output in answered.add(piece):
                                yield output
                for output in answered.end():
                    yield output
                messages = answered.messages
            calls = calls_of(messages)
            if not calls:
                return
            said += messages
            said += await self._tools.results(ctx, calls, refused=not left)
            said += steered
            # If a tool has handed over, this agent is closed here, and its model not asked in vain.
            yield ""
        raise LLMRounds

    def _ask(self, messages: Sequence[Message]) -> AsyncGenerator[LLMPiece, None]:
        offered = self._tools.offered
        if not offered:
            return self.llm.stream(messages, instructions=self.instructions)
        return self.llm.stream(messages, instructions=self.instructions, tools=offered)
