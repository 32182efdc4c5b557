"""What an agent wrote in its earlier runs, as messages, with those that it took meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.codec import Envelope
from ..protocol.fold import Fold

_WRITTEN: Final = (
    e.TextMessageStart,
    e.TextMessageContent,
    e.ToolCallStart,
    e.ToolCallArgs,
    e.ToolCallResult,
    e.ReasoningMessageStart,
    e.ReasoningMessageContent,
    e.ReasoningEncryptedValue,
)
"""The events that the messages of an agent are made of."""
SAID: Final = (*_WRITTEN, e.MessageAccepted, e.MessageSteered)
"""The events that :func:`said_in` reads."""


def said_in(log: Sequence[Envelope], runs: Collection[str]) -> list[m.Message]:
    """The agent's own messages in these ``runs``, without those of its subagents.

    A message that steered a run stands where the run took it.
    """
    written, accepted = Fold(), dict[str, m.UserMessage]()
    steered: list[tuple[int, m.UserMessage]] = []
    for body in log:
        match body.event:
            case e.MessageAccepted(message=message):
                accepted[message.id] = message
            case _ if body.run not in runs:
                pass
            case e.MessageSteered(id, "delivered") if id in accepted:
                steered.append((len(written.messages), accepted[id]))
            case event if isinstance(event, _WRITTEN):
                written.apply(event, body.run)
            case _:
                pass
    said = written.messages
    for place, message in reversed(steered):
        said.insert(place, message)
    return [one for one in said if one.subagent_run_id is None]
