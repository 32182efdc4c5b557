"""What an agent wrote in its earlier runs, as messages, with those that it took meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.codec import Envelope
from ..protocol.fold import Fold


def said_in(log: Iterable[Envelope], runs: Collection[str]) -> list[m.Message]:
    """The messages of these ``runs``. One that steered a run stands where the run took it."""
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
            case event:
                written.apply(event, body.run)
    said = written.messages
    for place, message in reversed(steered):
        said.insert(place, message)
    return said
