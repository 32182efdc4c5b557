"""The context of a run, for tests that call an agent without a gateway."""

from __future__ import annotations

from agentws.agents.run_context import RunContext
from agentws.protocol.messages import Message, UserMessage
from agentws.store import SessionInfo

SESSION = SessionInfo(id="ses_0123456789abcdef", agent="agent", created=0.0, updated=0.0)


def run_context(*messages: Message | str) -> RunContext:
    """A run that answers the last of ``messages``; a string is a user message."""
    history = [
        UserMessage(id=f"m{index}", content=message) if isinstance(message, str) else message
        for index, message in enumerate(messages)
    ]
    answered = history[-1]
    assert isinstance(answered, UserMessage)

    async def read(limit: int | None) -> list[Message]:
        return history[-limit:] if limit else history

    return RunContext(
        message=answered,
        session=SESSION,
        run_id="run_1",
        agent="agent",
        identity=None,
        history=read,
    )
