"""A turn: a user message and what answers it, up to the end of the conversation in view."""

from __future__ import annotations

from contextlib import aclosing
from typing import NamedTuple

from ..protocol import events as e
from ..protocol.codec import decode_record, event_type
from ..protocol.messages import InterruptOutcome, UserMessage
from ..store import Store
from .view import View, backwards


class Turn(NamedTuple):
    """The conversation from a user message on."""

    start: int
    """The seq of the run that answers the message."""
    message: UserMessage
    asked: frozenset[str]
    """The questions (interrupts) that were asked from there on."""
    restated: bool
    """Whether an agent has replaced messages of the conversation from there on."""


async def find_turn(
    store: Store, session: str, end: int, message: str | None, view: View
) -> Turn | None:
    """The turn of that message in the log up to the seq ``end``; of the last one for ``None``.

    ``None`` if no run in view has answered such a message. Reads back to where the turn begins.
    """
    asked: set[str] = set()
    restated = False
    async with aclosing(backwards(store, session, end + 1, view=view)) as records:
        async for record in records:
            kind = event_type(record.data)
            restated = restated or kind == "MESSAGES_SNAPSHOT"
            if kind not in ("RUN_STARTED", "RUN_FINISHED"):
                continue
            match decode_record(record.data).event:
                case e.RunFinished(outcome=InterruptOutcome(interrupts=questions)):
                    asked.update(question.id for question in questions)
                case e.RunStarted() as started:
                    found = _answered(started, message)
                    if found is not None:
                        return Turn(record.seq, found, frozenset(asked), restated)
                case _:
                    pass
    return None


def _answered(started: e.RunStarted, message: str | None) -> UserMessage | None:
    """The user message that the run answers, if it is that one."""
    for one in started.input.messages if started.input else ():
        if isinstance(one, UserMessage) and message in (None, one.id):
            return one
    return None
