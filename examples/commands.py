"""Commands: the user types one after a slash, and no model answers it. `uvicorn commands:app`"""

from collections.abc import AsyncIterator, Sequence

from starlette.applications import Starlette

from agentws import Agent, AgentError, Command, CommandContext, RunContext, mount_agent_gateway
from agentws.events import UserMessage


async def count(ctx: CommandContext, args: str) -> str:
    history = await ctx.history()
    yours = sum(isinstance(message, UserMessage) for message in history)
    return f"You have sent {yours} messages."


class Clerk(Agent):
    """Offers ``/count`` and ``/forms`` besides ``/help``, ``/history``, ``/clear``, ``/whoami``."""

    forms = {"A1": "change of address", "B2": "parking permit"}

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        form = self.forms.get(ctx.text.strip().upper())
        if form is None:
            # The user sees the message of an AgentError, and of no other exception.
            raise AgentError("I know forms only by their number. Type /forms for a list.")
        yield f"Form {ctx.text.strip().upper()} is the {form}."

    def commands(self) -> Sequence[Command]:
        async def forms(ctx: CommandContext, args: str) -> str:
            return "\n".join(f"{number}: {title}" for number, title in self.forms.items())

        return [
            Command("count", "Counts what you have said", count),
            Command("forms", "Lists the forms", forms),
        ]


app = Starlette()
gateway = mount_agent_gateway(app, Clerk)
