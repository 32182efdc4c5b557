"""The senders of queued messages, if this node knows more of them than the log says."""

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
    """Who asked for a run: the identity with its claims, and the context variables.

    ``event`` is the event to append for them. Another client may send the same id, or the same
    client another body: the run is for the sender of the event that is in the log.
    """

    event: Event
    identity: Identity | None
    context: Context | None
    """The context of the connection when it asked; ``None`` if it had no variables."""


def sender_now(event: Event, identity: Identity | None) -> Sender | None:
    """The sender of ``event`` in the current context; ``None`` if the log has all of it."""
    context = contextvars.copy_context()
    if not len(context) and (identity is None or not identity.claims):
        return None
    return Sender(event, identity, context if len(context) else None)


UNCONFIRMED: Final = 8
"""How many senders of a session are kept whose append failed with an unknown outcome."""


class Senders:
    """Senders by the id of their message or answer; removed when a run starts with it."""

    __slots__ = ("_unconfirmed", "_known")

    def __init__(self) -> None:
        self._known: dict[str, tuple[Sender, ...]] = {}
        self._unconfirmed: tuple[tuple[str, Sender], ...] = ()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, id: str, sender: Sender) -> None:
        """Adds a sender. Call it before the append: the run may start before that returns."""
        self._known[id] = (*self._known.get(id, ()), sender)

    def discard(self, id: str, sender: Sender) -> None:
        """Removes a sender whose append was refused."""
        left = tuple(one for one in self._known.pop(id, ()) if one is not sender)
        if left:
            self._known[id] = left

    def keep_unconfirmed(self, id: str, sender: Sender) -> None:
        """Keeps a sender whose append failed with an unknown outcome: the newest of them only.

        Without this bound a store that is down for long would fill the memory.
        """
        unconfirmed = (*self._unconfirmed, (id, sender))
        for one in unconfirmed[:-UNCONFIRMED]:
            self.discard(*one)
        self._unconfirmed = unconfirmed[-UNCONFIRMED:]

    def of(self, id: str, event: Event) -> Sender | None:
        """Who sent the ``event`` that is in the log under ``id``, if it is known here."""
        return next((one for one in self._known.get(id, ()) if one.event == event), None)

    def replace(self, id: str, event: Event, edited: Event) -> None:
        """The ``event`` under ``id`` was changed by its sender: it is ``edited`` from now on."""
        known = self._known.get(id)
        if known is not None:
            changed = (one._replace(event=edited) if one.event == event else one for one in known)
            self._known[id] = tuple(changed)

    def remove(self, ids: Iterable[str]) -> None:
        for id in ids:
            self._known.pop(id, None)


def no_longer_queued(event: Event, before: Outline) -> Iterable[str]:
    """The ids of the messages and answers that ``event`` takes out of the session's queue."""
    match event:
        case e.RunStarted(input=given) if given is not None:
            answers = () if given.resume is msgspec.UNSET else given.resume
            return [*(one.id for one in given.messages), *(one.interrupt_id for one in answers)]
        case e.MessageWithdrawn() | e.MessageSteered(outcome="delivered"):
            return [event.message_id]
        case e.HistoryCleared():
            return list(before.answers)
        case e.HistoryBranched():
            return event.interrupts
        case _:
            return ()
