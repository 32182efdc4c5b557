"""Every exception of agentws, as data.

    AgentwsError
    ├── BadRequest              400 / 4400   bad_request
    │   └── InvalidEvent        400 / 4400   invalid_event
    ├── UnknownCommand          400 / 4400   unknown_command
    ├── Unauthenticated         401 / 4401   unauthenticated
    ├── Forbidden               403 / 4403   forbidden
    ├── NotFound                404 / 4404   not_found
    ├── MethodNotAllowed        405 / 4405   method_not_allowed
    ├── TimedOut                408 / 4408   timed_out               retryable
    ├── Conflict                409 / 4409   conflict
    │   ├── IdempotencyConflict 409 / 4409   idempotency_conflict
    │   ├── AlreadyAnswered     409 / 4409   already_answered
    │   ├── RunActive           409 / 4409   run_active              retryable
    │   ├── VersionConflict     409 / 4409   conflict                retryable
    │   └── Fenced              409 / 4409   fenced
    ├── PositionLost            410 / 4410   position_lost
    ├── TooLarge                413 / 4413   too_large
    │   └── EventTooLarge       413 / 4413   too_large
    ├── UnsupportedMedia        415 / 4415   unsupported_media
    ├── Misdirected             421 / 4421   misdirected
    ├── TooMany                 429 / 4429   too_many                retryable
    │   └── QueueFull           429 / 4429   queue_full              retryable
    ├── Internal                500 / 4500   internal                retryable
    │   ├── AgentError          500 / 4500   agent_error
    │   └── WrongLoop           500 / 4500   wrong_loop
    ├── NotSupported            501 / 4501   not_supported
    └── Unavailable             503 / 4503   unavailable             retryable
        ├── StorageFull         503 / 4503   storage_full            retryable
        └── Draining            503 / 4503   draining                retryable

A class says what is true of every such error (``code``, ``status``, ``close_code``, ``retryable``);
an instance adds the sentence, what was ``expected``, and ``retry_after`` in seconds. The sentence
is written for the peer and never holds internals; those are in the ``__cause__``, which is logged
and not sent.
"""

from __future__ import annotations

from typing import ClassVar, Literal

__all__ = ["AgentError", "AgentwsError", "AlreadyAnswered", "BadRequest", "Conflict", "Draining"]
__all__ += ["EventTooLarge", "Fenced", "Forbidden", "IdempotencyConflict", "Internal"]
__all__ += ["InvalidEvent", "LostReason", "MethodNotAllowed", "Misdirected", "NotFound"]
__all__ += ["NotSupported", "PositionLost", "QueueFull", "RunActive", "StorageFull", "TimedOut"]
__all__ += ["TooLarge", "TooMany", "Unauthenticated", "Unavailable", "UnknownCommand"]
__all__ += ["UnsupportedMedia", "VersionConflict", "WrongLoop"]


class AgentwsError(Exception):
    """The root. Catch it to catch everything agentws raises on purpose."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    summary: ClassVar[str] = "Something went wrong."

    # A subclass may not call this __init__.
    expected: str | None = None
    retry_after: float | None = None

    def __init__(
        self,
        message: str | None = None,
        *,
        expected: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message or self.summary)
        self.expected = expected
        self.retry_after = retry_after

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else self.summary

    @property
    def close_code(self) -> int:
        """4000 + the HTTP status, so both transports refuse with the same number."""
        return 4000 + self.status

    def __str__(self) -> str:
        return f"{self.message} Expected {self.expected}." if self.expected else self.message


class BadRequest(AgentwsError):
    code = "bad_request"
    status = 400
    summary = "The request could not be understood."


class InvalidEvent(BadRequest):
    """An agent yielded something that can't stand in the log at this place."""

    code = "invalid_event"
    summary = "The agent produced an invalid event."


class UnknownCommand(BadRequest):
    code = "unknown_command"
    summary = "There is no such command."


class Unauthenticated(AgentwsError):
    code = "unauthenticated"
    status = 401
    summary = "Credentials are missing or not valid."


class Forbidden(AgentwsError):
    code = "forbidden"
    status = 403
    summary = "This is not allowed."


class NotFound(AgentwsError):
    code = "not_found"
    status = 404
    summary = "There is no such thing."


class MethodNotAllowed(AgentwsError):
    code = "method_not_allowed"
    status = 405
    summary = "This route does not do that."


class TimedOut(AgentwsError):
    code = "timed_out"
    status = 408
    retryable = True
    summary = "It took too long."


class Conflict(AgentwsError):
    """The family of what contradicts the log as it is."""

    code = "conflict"
    status = 409
    summary = "This conflicts with what is already there."


class IdempotencyConflict(Conflict):
    """The same id was used before with another body."""

    code = "idempotency_conflict"
    summary = "This id was already used for something else."


class AlreadyAnswered(Conflict):
    code = "already_answered"
    summary = "This was already answered."


class RunActive(Conflict):
    """A message with overlap ``reject`` came while a run was active."""

    code = "run_active"
    retryable = True
    summary = "The agent is still answering."


class VersionConflict(Conflict):
    """An append expected another end of the log (optimistic concurrency control).

    Its caller reads on and decides again. A peer is told when that failed for too long.
    """

    retryable = True
    summary = "Others are changing this session at the same time."


class Fenced(Conflict):
    """A writer that lost its lease tried to append."""

    code = "fenced"
    summary = "Another node runs this session now."


LostReason = Literal["lost", "epoch", "future", "trimmed", "compacted", "diverged"]


class PositionLost(AgentwsError):
    """A position can't be continued from; ``reason`` says why (the wire's ``welcome.reason``)."""

    code = "position_lost"
    status = 410

    def __init__(self, reason: LostReason) -> None:
        super().__init__(f"This position can't be continued from ({reason}).")
        self.reason: LostReason = reason


class TooLarge(AgentwsError):
    code = "too_large"
    status = 413
    summary = "This is too large."


class EventTooLarge(TooLarge):
    """One event is larger than a log takes; text alone is cut into as many as it needs."""

    summary = "This event is too large."

    @classmethod
    def of(cls, kind: str, size: int, limit: int) -> EventTooLarge:
        """``kind`` is the event's ``type``, ``size`` what it has in bytes."""
        return cls(f"This {kind} has {size} bytes; an event has at most {limit}.")


class UnsupportedMedia(AgentwsError):
    """A body whose ``Content-Type`` is not what the route reads."""

    code = "unsupported_media"
    status = 415
    summary = "This kind of body is not understood."


class Misdirected(AgentwsError):
    """The Host header names a host this gateway does not serve (DNS rebinding)."""

    code = "misdirected"
    status = 421
    summary = "This host is not served here."


class TooMany(AgentwsError):
    code = "too_many"
    status = 429
    retryable = True
    summary = "Too many requests."


class QueueFull(TooMany):
    code = "queue_full"
    summary = "Too many messages are waiting."


class Internal(AgentwsError):
    retryable = True


class AgentError(Internal):
    """Raise it in an agent to end the run with a sentence that the user may read."""

    code = "agent_error"
    retryable = False
    summary = "The agent failed."


class WrongLoop(Internal):
    """A gateway was asked on another event loop than the one on which it was started.

    Its tasks and futures belong to that one: nothing would ever wake up who waits on another.
    """

    code = "wrong_loop"
    retryable = False
    summary = "This gateway runs on another event loop."


class Unavailable(AgentwsError):
    code = "unavailable"
    status = 503
    retryable = True
    summary = "The service is not available right now."


class StorageFull(Unavailable):
    code = "storage_full"
    summary = "The store is full."


class Draining(Unavailable):
    code = "draining"
    summary = "The service is restarting."


class NotSupported(AgentwsError):
    """The frame or route is part of the protocol, and this gateway does not offer it."""

    code = "not_supported"
    status = 501
    summary = "This gateway does not offer that."
