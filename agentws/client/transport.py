"""The transport port: what a chat needs of a network connection, and what it asks for at opening.

Implement it to run a chat over another network, or over none in a test.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from ..errors import BadRequest
from ..protocol.frames import BEARER, NATIVE


class Opening(NamedTuple):
    """What to ask the server for. A new one is made for every attempt."""

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
        """The subprotocols to offer: the native wire, and the token.

        Unlike a URL, a subprotocol does not appear in access logs. Raises BadRequest for a token
        that is not valid text.
        """
        if self.token is None:
            return [NATIVE]
        if not isinstance(self.token, str):
            raise TypeError(f"the token is {type(self.token).__name__}; expected a str or None")
        try:
            token = self.token.encode()
        except UnicodeEncodeError as error:
            raise BadRequest("The token is not valid text.") from error
        encoded = base64.urlsafe_b64encode(token).decode().rstrip("=")
        return [NATIVE, BEARER + encoded]


class TransportClosed(Exception):
    """A connection ended, or could not be opened.

    ``code`` is the WebSocket close code; 1006 means that none was received. ``retryable``, if not
    ``None``, decides whether to reconnect, whatever the code is. ``retry_after`` is in seconds.
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
    """An open connection on the native wire. Cancelling ``recv`` must not lose a message."""

    async def send(self, text: str, /) -> None:
        """Raises TransportClosed."""

    async def recv(self) -> str | bytes:
        """The next message. Raises TransportClosed after the last message before the close."""
        ...

    async def close(self) -> None:
        """Closes the connection, also one that has ended already. Must return within seconds."""


OpenTransport = Callable[[Opening], Awaitable[Transport]]
"""Opens a connection. TransportClosed may be retried; any other exception ends the chat."""
