"""The run that answers one message, picked out of a log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from . import events as e
from .codec import Record, decode_record, event_type

_BEGINNINGS: Final = frozenset({"RUN_STARTED", "message.steered", "message.withdrawn"})
_TERMINAL: Final = frozenset({"RUN_FINISHED", "RUN_ERROR"})


class MessageRun:
    """Selects the events of the run that answers a message. Feed it the log after the message.

    Runs of other messages, before it in the queue, are left out. Of a run that the message steered,
    it selects what follows the delivery; of an answer whose node was lost, every attempt. ``ended``
    is true once the last run's terminal event was seen, or the message was withdrawn and no run
    will ever answer it.
    """

    __slots__ = ("_message", "_prefix", "ended")

    def __init__(self, message: str) -> None:
        self._message = message
        self._prefix: bytes | None = None
        self.ended = False

    def select(self, records: Sequence[Record]) -> list[Record]:
        """Those of ``records`` that belong to the answer; nothing after its end."""
        return [record for record in records if not self.ended and self._belongs(record.data)]

    def _belongs(self, data: bytes) -> bool:
        if self._prefix is None:
            return self._begins(data)
        if not data.startswith(self._prefix):
            return False
        if event_type(data) in _TERMINAL:
            self._end(data)
        return True

    def _end(self, data: bytes) -> None:
        """The run has ended; another attempt at the answer may follow, as a run of its own."""
        self.ended = e.next_attempt(decode_record(data).event) is None
        self._prefix = None

    def _begins(self, data: bytes) -> bool:
        if event_type(data) not in _BEGINNINGS:
            return False
        body = decode_record(data)
        match body.event:
            case e.RunStarted(run_id=run, input=asked) if asked is not None:
                if not any(one.id == self._message for one in asked.messages):
                    return False
                return self._select_run(run)
            case e.MessageSteered(message_id=self._message, outcome="delivered"):
                return body.run is not None and self._select_run(body.run)
            case e.MessageWithdrawn(message_id=self._message):
                self.ended = True
                return True
            case _:
                return False

    def _select_run(self, run: str) -> bool:
        # A record begins with its run, and run ids need no escapes.
        self._prefix = b'{"run":"%b",' % run.encode()
        return True
