"""Refusals of a server as exceptions of :mod:`agentws.errors`, and the client's own exceptions."""

from __future__ import annotations

from typing import Final, Protocol

from .. import errors
from ..errors import AgentError, AgentwsError, Conflict, Unavailable


class Disconnected(Unavailable):
    """The connection was lost, or could not be opened, before this was answered."""

    code = "disconnected"
    summary = "The connection was lost before this was answered."


class BadProxy(AgentwsError):
    """The proxy that a variable or an argument names can't be used. A retry would not help.

    The message names the proxy, and says how to go without it. A proxy that can't be reached at the
    moment raises Disconnected instead.
    """

    code = "bad_proxy"
    status = 400
    summary = "This proxy can't be used."


class ChatClosed(Unavailable):
    """The chat is not open: it was not entered yet, or was left. It can't send or receive."""

    code = "closed"
    retryable = False
    summary = "This chat is closed."


class Refused(AgentwsError):
    """The server refused with a code that this version of the client has no class for."""

    code = "refused"
    status = 400
    summary = "The server refused this."

    def __init__(
        self, server_code: str, message: str | None, *, retry_after: float | None = None
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.server_code = server_code
        """The error code from the server."""


class RunFailed(AgentError):
    """The run that answers the message ended with an error. ``text`` is the answer so far."""

    def __init__(self, message: str, *, server_code: str | None, text: str) -> None:
        super().__init__(message)
        self.server_code = server_code
        self.text = text


class RunCancelled(Conflict):
    """The run was stopped before its end. ``text`` is the answer so far."""

    code = "run_cancelled"
    summary = "The answer was stopped."

    def __init__(self, *, text: str) -> None:
        super().__init__()
        self.text = text


class MessageWithdrawn(Conflict):
    """The message was withdrawn, or dropped by the server, before a run began to answer it."""

    code = "message_withdrawn"
    summary = "The message was withdrawn before it was answered."


class SnapshotNeeded(Exception):
    """The log can't be continued at the client's position, or the client knows too little of it.

    Internal: the connection is closed, and the next one begins with a snapshot.
    """


class Refusal(Protocol):
    """What ``error`` frames and HTTP error bodies have in common."""

    @property
    def code(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def expected(self) -> str | None: ...
    @property
    def retry_after(self) -> float | None: ...


_KNOWN: Final[tuple[type[AgentwsError], ...]] = (
    errors.BadRequest,
    errors.UnknownCommand,
    errors.Unauthenticated,
    errors.Forbidden,
    errors.NotFound,
    errors.TimedOut,
    errors.Conflict,
    errors.IdempotencyConflict,
    errors.AlreadyAnswered,
    errors.RunActive,
    errors.TooLarge,
    errors.QuotaExceeded,
    errors.UnsupportedMedia,
    errors.Misdirected,
    errors.TooMany,
    errors.QueueFull,
    errors.Internal,
    errors.AgentError,
    errors.NotSupported,
    errors.Unavailable,
    errors.StorageFull,
    errors.Draining,
)
_BY_CODE: Final = {kind.code: kind for kind in _KNOWN}
# A general class comes before its subclasses. A close code without a name means the general one.
_BY_CLOSE_CODE: Final = {4000 + kind.status: kind for kind in reversed(_KNOWN)}


def refusal(refused: Refusal) -> AgentwsError:
    """The exception for an error that a server sent."""
    kind = _BY_CODE.get(refused.code)
    if kind is None:
        return Refused(refused.code, refused.message, retry_after=refused.retry_after)
    return kind(refused.message, expected=refused.expected, retry_after=refused.retry_after)


def closed_with(code: int, reason: str, message: str | None = None) -> AgentwsError:
    """The exception for a close after which the client does not reconnect.

    ``reason`` is an error code or a sentence. With an error code, ``message`` is the sentence.
    """
    if reason in _BY_CODE:
        return _BY_CODE[reason](message)
    sentence = message or reason
    if code == 1008:
        return errors.Forbidden(sentence or None)
    kind = _BY_CLOSE_CODE.get(code)
    if kind is not None:
        return kind(sentence or None)
    name = reason if message and reason else str(code)
    return Refused(name, sentence or f"The server closed the connection ({code}).")
