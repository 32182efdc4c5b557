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
    │   ├── Expired             409 / 4409   expired
    │   ├── RunActive           409 / 4409   run_active              retryable
    │   ├── StateConflict       409 / 4409   state_conflict
    │   ├── VersionConflict     409 / 4409   conflict                retryable
    │   └── Fenced              409 / 4409   fenced
    ├── PositionLost            410 / 4410   position_lost
    ├── TooLarge                413 / 4413   too_large
    │   ├── EventTooLarge       413 / 4413   too_large
    │   └── QuotaExceeded       413 / 4413   quota_exceeded
    ├── UnsupportedMedia        415 / 4415   unsupported_media
    ├── Misdirected             421 / 4421   misdirected
    ├── TooMany                 429 / 4429   too_many                retryable
    │   └── QueueFull           429 / 4429   queue_full              retryable
    ├── Internal                500 / 4500   internal                retryable
    │   ├── AgentError          500 / 4500   agent_error
    │   │   ├── DelegateFailed  500 / 4500   delegate_failed
    │   │   └── TooManyAgents   500 / 4500   too_many_agents
    │   │   ├── ToolError       500 / 4500   tool_failed
    │   │   │   ├── ToolArgumentsInvalid     tool_arguments_invalid
    │   │   │   └── ToolDenied               tool_denied
    │   │   ├── AskDeclined     500 / 4500   ask_declined
    │   │   ├── AskExpired      500 / 4500   ask_expired
    │   │   └── ReplayDiverged  500 / 4500   replay_diverged
    │   └── WrongLoop           500 / 4500   wrong_loop
    ├── NotSupported            501 / 4501   not_supported
    └── Unavailable             503 / 4503   unavailable             retryable
        ├── StorageFull         503 / 4503   storage_full            retryable
        ├── Misconfigured       503 / 4503   unavailable             retryable
        └── Draining            503 / 4503   draining                retryable

A class holds what all its errors have in common (``code``, ``status``, ``close_code``,
``retryable``). An instance adds a sentence, what was ``expected``, and ``retry_after`` in seconds.
The sentence is sent to the client and never contains internals: those are in the ``__cause__``,
which is logged and not sent.
"""

from __future__ import annotations

from typing import ClassVar, Literal

__all__ = ["AgentError", "AgentwsError", "AlreadyAnswered", "AskDeclined", "AskExpired"]
__all__ += ["BadRequest", "Conflict", "DelegateFailed", "Draining", "EventTooLarge", "Expired"]
__all__ += ["Fenced", "Forbidden", "IdempotencyConflict", "Internal", "InvalidEvent", "LostReason"]
__all__ += ["MethodNotAllowed", "Misconfigured", "Misdirected", "NotFound", "NotSupported"]
__all__ += ["PositionLost", "QueueFull", "QuotaExceeded", "ReplayDiverged", "RunActive"]
__all__ += ["StateConflict", "StorageFull", "TimedOut", "TooLarge", "TooMany", "TooManyAgents"]
__all__ += ["ToolArgumentsInvalid", "ToolDenied", "ToolError", "Unauthenticated", "Unavailable"]
__all__ += ["UnknownCommand", "UnsupportedMedia", "VersionConflict", "WrongLoop"]


class AgentwsError(Exception):
    """The base class of every exception that agentws raises on purpose."""

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
        """The sentence of the error; by default that of its class."""
        return str(self.args[0]) if self.args else self.summary

    @property
    def close_code(self) -> int:
        """The WebSocket close code: 4000 + the HTTP status."""
        return 4000 + self.status

    def __str__(self) -> str:
        return f"{self.message} Expected {self.expected}." if self.expected else self.message


class BadRequest(AgentwsError):
    code = "bad_request"
    status = 400
    summary = "The request could not be understood."


class InvalidEvent(BadRequest):
    """An agent yielded something that is not an event, or an event that is illegal here."""

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
    summary = "This was not found."


class MethodNotAllowed(AgentwsError):
    code = "method_not_allowed"
    status = 405
    summary = "This route does not support this method."


class TimedOut(AgentwsError):
    code = "timed_out"
    status = 408
    retryable = True
    summary = "This took too long."


class Conflict(AgentwsError):
    """The command does not fit the current state of the session's log."""

    code = "conflict"
    status = 409
    summary = "This conflicts with the current state of the session."


class IdempotencyConflict(Conflict):
    """The idempotency key (the client's message id) was used before with another body."""

    code = "idempotency_conflict"
    summary = "This id was already used for another message."


class AlreadyAnswered(Conflict):
    code = "already_answered"
    summary = "This was already answered."


class Expired(Conflict):
    """An answer came after the deadline of its question."""

    code = "expired"
    summary = "This question has expired."


class RunActive(Conflict):
    """A message with overlap ``reject`` arrived while a run was active."""

    code = "run_active"
    retryable = True
    summary = "The agent is still answering."


class StateConflict(Conflict):
    """A client's patch does not apply to the shared state as it is now."""

    code = "state_conflict"
    summary = "This patch does not apply to the shared state."


class VersionConflict(Conflict):
    """The log's head is not the append's expected version (optimistic concurrency control).

    The caller reads the new records and decides again. A client sees this error only if that
    failed for too long.
    """

    retryable = True
    summary = "Others are changing this session at the same time."


class Fenced(Conflict):
    """An append with an outdated fencing token: its node has lost the session's lease."""

    code = "fenced"
    summary = "Another node has the lease of this session now."


LostReason = Literal["lost", "epoch", "future", "trimmed", "compacted", "diverged"]


class PositionLost(AgentwsError):
    """A replay can't start at this position; ``reason`` says why (``welcome.reason``)."""

    code = "position_lost"
    status = 410

    def __init__(self, reason: LostReason) -> None:
        super().__init__(f"This position can't be resumed ({reason}).")
        self.reason: LostReason = reason


class TooLarge(AgentwsError):
    code = "too_large"
    status = 413
    summary = "This is too large."


class EventTooLarge(TooLarge):
    """One event is larger than ``max_event_size``. Text is never: it is split into events."""

    summary = "This event is too large."

    @classmethod
    def of(cls, kind: str, size: int, limit: int) -> EventTooLarge:
        """``kind`` is the event's ``type``; ``size`` and ``limit`` are in bytes."""
        return cls(f"This {kind} has {size} bytes; an event has at most {limit}.")


class QuotaExceeded(TooLarge):
    """The files of one identity, or of one anonymous session, would be more than its quota."""

    code = "quota_exceeded"
    summary = "Your files take up too much space."


class UnsupportedMedia(AgentwsError):
    """The ``Content-Type`` of the body, or the type of a file, is not one that is accepted."""

    code = "unsupported_media"
    status = 415
    summary = "This Content-Type is not supported."


class Misdirected(AgentwsError):
    """The Host header names a host that this gateway does not serve (DNS rebinding)."""

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
    """Raise it in an agent to end the run with a sentence for the user."""

    code = "agent_error"
    retryable = False
    summary = "The agent failed."


class DelegateFailed(AgentError):
    """A delegate has ended with an error, which is the ``__cause__``; retryable if that is."""

    code = "delegate_failed"
    summary = "An agent that was asked for help failed."

    def __init__(
        self,
        message: str | None = None,
        *,
        retryable: bool = False,
        expected: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, expected=expected, retry_after=retry_after)
        vars(self).update(retryable=retryable)


class TooManyAgents(AgentError):
    """The agents of one run call each other too often, or too deeply: a loop."""

    code = "too_many_agents"
    summary = "The agents call each other too often."


class ToolError(AgentError):
    """A tool failed, or ran for too long. The sentence is for the user, and for a model."""

    code = "tool_failed"
    summary = "The tool failed."


class ToolArgumentsInvalid(ToolError):
    """A tool was given arguments that do not fit its parameters; the tool was not called."""

    code = "tool_arguments_invalid"
    summary = "The arguments of the tool are not valid."


class ToolDenied(ToolError):
    """A person did not approve a call; the tool was not called."""

    code = "tool_denied"
    summary = "The call was denied."


class AskDeclined(AgentError):
    """A question was cancelled by the person who was asked."""

    code = "ask_declined"
    summary = "The question was declined."


class AskExpired(AgentError):
    """Nobody answered a question before its deadline."""

    code = "ask_expired"
    summary = "The question was not answered in time."


class ReplayDiverged(AgentError):
    """An agent that was called again for an answer did not ask as it had asked before."""

    code = "replay_diverged"
    summary = "The agent has changed since it asked: the answer does not fit any more."


class WrongLoop(Internal):
    """A gateway was called on another event loop than the one on which it was started.

    Its tasks and futures belong to that loop and can't wake up a task of another one.
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


class Misconfigured(Unavailable):
    """Set up so that a retry does not help, as with a newer schema: it ends the start of a host."""

    summary = "The service is not set up correctly."


class Draining(Unavailable):
    code = "draining"
    summary = "The service is restarting."


class NotSupported(AgentwsError):
    """The frame or route is part of the protocol, but this gateway does not support it."""

    code = "not_supported"
    status = 501
    summary = "This gateway does not support that."
