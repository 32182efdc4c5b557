"""The example with tools, an approval and a question."""

from __future__ import annotations

from agentws.client import Chat, LogEvent, connect
from agentws.events import Interrupt, RunFinished

from . import serving


async def question(chat: Chat, text: str) -> Interrupt:
    """Sends a message; returns the question that its run ends with."""
    async for event in chat.send(text):
        if isinstance(event, RunFinished):
            break
    (asked,) = chat.questions
    return asked


async def ended(chat: Chat, interrupt: Interrupt, payload: object) -> str:
    """Answers, and returns the last message of the run that goes on."""
    events = chat.events()
    await chat.answer(interrupt.id, payload)
    async for update in events:
        if isinstance(update, LogEvent) and isinstance(update.event, RunFinished):
            break
    return str(chat.messages[-1].content)


async def test_the_example_refunds_asks_and_waits_for_approvals() -> None:
    with serving.uvicorn("tools_and_approval") as service:
        async with connect(service.chat) as chat:
            assert await chat.ask("refund o1") == "Order o1: 20 are on their way."
            asked = await question(chat, "refund o2")
            assert asked.reason == "tool_call" and str(asked.message).startswith(
                "Call refund with "
            )
            said = await ended(chat, asked, {"approved": False, "reason": "too much"})
            assert said == "No refund. The call was denied: too much"
            asked = await question(chat, "refund")
            assert asked.message == "Which order?"
            said = await ended(chat, asked, "o1")
            assert said == "Order o1: 20 are on their way."
