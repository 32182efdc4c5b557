"""The run that answers one message, picked out of a log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from . import events as e
from .codec import Record, decode_record, event_type

_TERMINAL: Final = frozenset({"RUN_FINISHED", "RUN_ERROR"})


class MessageRun:
    """Selects the events of the run that answers a message. Feed it the log after the message.

    Runs of other messages, before it in the queue, are left out. ``ended`` is true once the run's
    terminal event was seen, or the message was withdrawn and no run will ever answer it.
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
        self.ended = event_type(data) in _TERMINAL
        return True

    def _begins(self, data: bytes) -> bool:
        if event_type(data) not in ("RUN_STARTED", "message.withdrawn"):
            return False
        match decode_record(data).event:
            case e.RunStarted(run_id=run, input=asked) if asked is not None:
                if not any(one.id == self._message for one in asked.messages):
                    return False
                # A record begins with its run, and run ids need no escapes.
                self._prefix = b'{"run":"%b",' % run.encode()
                return True
            case e.MessageWithdrawn(message_id=self._message):
                self.ended = True
                return True
            case _:
                return False
