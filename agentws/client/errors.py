"""What a server said no with, as the exceptions of :mod:`agentws.errors`; and the client's own."""

from __future__ import annotations

from typing import Final, Protocol

from .. import errors
from ..errors import AgentError, AgentwsError, Conflict, Unavailable


class Disconnected(Unavailable):
    """The connection ended, or never came to be, before this was answered."""

    code = "disconnected"
    summary = "The connection was lost before this was answered."


class BadProxy(AgentwsError):
    """The proxy that a variable or an argument names can't be used, now or later.

    The sentence says which one, and how to do without it. One that can't be reached just now is a
    reason for Disconnected instead.
    """

    code = "bad_proxy"
    status = 400
    summary = "This proxy can't be used."


class ChatClosed(Unavailable):
    """The chat was left; nothing can be sent or received through it any more."""

    code = "closed"
    retryable = False
    summary = "This chat is closed."


class Refused(AgentwsError):
    """The server refused for a reason that this version has no class for."""

    code = "refused"
    status = 400
    summary = "The server refused this."

    def __init__(
        self, server_code: str, message: str | None, *, retry_after: float | None = None
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.server_code = server_code
        """The code that the server gave."""


class RunFailed(AgentError):
    """The run that was to answer ended with an error; ``text`` is what it had said by then."""

    def __init__(self, message: str, *, server_code: str | None, text: str) -> None:
        super().__init__(message)
        self.server_code = server_code
        self.text = text


class RunCancelled(Conflict):
    """The run was stopped before it was done; ``text`` is what it had said by then."""

    code = "run_cancelled"
    summary = "The answer was stopped."

    def __init__(self, *, text: str) -> None:
        super().__init__()
        self.text = text


class MessageWithdrawn(Conflict):
    """The message was taken back, or dropped by the server, before a run took it up."""

    code = "message_withdrawn"
    summary = "The message was withdrawn before it was answered."


class Refusal(Protocol):
    """What ``error`` frames and HTTP refusals share."""

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
# The general class comes before its kinds, and it is the one that a bare number means.
_BY_CLOSE_CODE: Final = {4000 + kind.status: kind for kind in reversed(_KNOWN)}


def refusal(said: Refusal) -> AgentwsError:
    """The exception for what a server said."""
    kind = _BY_CODE.get(said.code)
    if kind is None:
        return Refused(said.code, said.message, retry_after=said.retry_after)
    return kind(said.message, expected=said.expected, retry_after=said.retry_after)


def closed_with(code: int, reason: str, message: str | None = None) -> AgentwsError:
    """The exception for a close that ended the trying.

    ``reason`` is an error's name or a sentence; with a name, ``message`` may be the sentence.
    """
    if reason in _BY_CODE:
        return _BY_CODE[reason](message)
    said = message or reason
    if code == 1008:
        return errors.Forbidden(said or None)
    kind = _BY_CLOSE_CODE.get(code)
    if kind is not None:
        return kind(said or None)
    name = reason if message and reason else str(code)
    return Refused(name, said or f"The server closed the connection ({code}).")
