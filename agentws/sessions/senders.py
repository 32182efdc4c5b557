"""Who sent what waits in a session, where this node knows more of them than the log says."""

from __future__ import annotations

import contextvars
from collections.abc import Iterable
from contextvars import Context
from typing import Final, NamedTuple

import msgspec

from ..auth import Identity
from ..protocol import events as e
from ..protocol.events import Event
from ..protocol.outline import Outline


class Sender(NamedTuple):
    """Whoever asked for a run: the identity with its claims, and the context variables.

    ``event`` is what was appended for them. The same id may be tried by somebody else, or again
    with another body; only an append that was made counts, and its event stands in the log.
    """

    event: Event
    identity: Identity | None
    context: Context | None
    """Those of the connection, as they were when it asked; ``None`` where there were none."""


def sender_now(event: Event, identity: Identity | None) -> Sender | None:
    """The sender of ``event`` in the current context; ``None`` if the log says all there is."""
    context = contextvars.copy_context()
    if not len(context) and (identity is None or not identity.claims):
        return None
    return Sender(event, identity, context if len(context) else None)


DOUBTFUL: Final = 8
"""Tries of a session that are remembered though it is not known whether they were appended."""


class Senders:
    """Senders by the id of their message or answer; forgotten when a run takes that up."""

    __slots__ = ("_doubtful", "_known")

    def __init__(self) -> None:
        self._known: dict[str, tuple[Sender, ...]] = {}
        self._doubtful: tuple[tuple[str, Sender], ...] = ()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, id: str, sender: Sender) -> None:
        """Before the append: whoever starts the run may see its event before the caller does."""
        self._known[id] = (*self._known.get(id, ()), sender)

    def discard(self, id: str, sender: Sender) -> None:
        """The append was not made."""
        left = tuple(one for one in self._known.pop(id, ()) if one is not sender)
        if left:
            self._known[id] = left

    def doubt(self, id: str, sender: Sender) -> None:
        """Whether the append was made is not known: kept, as one of the newest of those.

        A store that is away for long must not cost a session the memory of all that is tried.
        """
        doubtful = (*self._doubtful, (id, sender))
        for one in doubtful[:-DOUBTFUL]:
            self.discard(*one)
        self._doubtful = doubtful[-DOUBTFUL:]

    def of(self, id: str, event: Event) -> Sender | None:
        """Who sent the ``event`` that stands in the log under ``id``, if that is known here."""
        return next((one for one in self._known.get(id, ()) if one.event == event), None)

    def forget(self, ids: Iterable[str]) -> None:
        for id in ids:
            self._known.pop(id, None)


def no_longer_waiting(event: Event, before: Outline) -> Iterable[str]:
    """The ids of the messages and answers that ``event`` takes out of the session's queue."""
    match event:
        case e.RunStarted(input=given) if given is not None:
            answers = () if given.resume is msgspec.UNSET else given.resume
            return [*(one.id for one in given.messages), *(one.interrupt_id for one in answers)]
        case e.MessageWithdrawn():
            return [event.message_id]
        case e.HistoryCleared():
            return list(before.answers)
        case _:
            return ()
