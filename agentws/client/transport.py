"""The port to a network: what a chat needs of a connection, and what it asks for on opening one."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from ..errors import BadRequest
from ..protocol.frames import BEARER, NATIVE


class Opening(NamedTuple):
    """What to ask a server for. Made anew for every attempt."""

    session: str | None = None
    after: str | None = None
    agent: str | None = None
    token: str | None = None

    def __repr__(self) -> str:
        return f"Opening(session={self.session!r}, after={self.after!r}, agent={self.agent!r})"

    @property
    def query(self) -> dict[str, str]:
        """The query parameters of the WebSocket endpoint."""
        named = {"session": self.session, "after": self.after, "agent": self.agent}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def subprotocols(self) -> list[str]:
        """What to offer: the native wire, and the token where no log writes it down.

        Raises BadRequest for a token that is not text.
        """
        if self.token is None:
            return [NATIVE]
        try:
            token = self.token.encode()
        except UnicodeEncodeError as error:
            raise BadRequest("The token is not text.") from error
        encoded = base64.urlsafe_b64encode(token).decode().rstrip("=")
        return [NATIVE, BEARER + encoded]


class TransportClosed(Exception):
    """A connection ended, or could not be opened.

    ``code`` is the WebSocket close code (1006: none was received). ``retryable`` overrules what
    the code says of trying again; ``retry_after`` is in seconds.
    """

    def __init__(
        self,
        code: int = 1006,
        reason: str = "",
        *,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.retryable = retryable
        self.retry_after = retry_after


class Transport(Protocol):
    """An open connection that speaks the native wire. ``recv`` must be safe to cancel."""

    async def send(self, text: str, /) -> None:
        """Raises TransportClosed."""

    async def recv(self) -> str | bytes:
        """The next message. Raises TransportClosed, after everything that came before the close."""
        ...

    async def close(self) -> None:
        """Ends the connection; may be called when it has ended. Must not take long."""


OpenTransport = Callable[[Opening], Awaitable[Transport]]
"""Opens a connection. Raises TransportClosed; anything else it raises ends the chat."""
