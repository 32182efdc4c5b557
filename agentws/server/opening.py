"""A WebSocket connection until it is open: upgrade request in, application asked, response out."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum, auto
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote

from .addresses import local_address, remote_address
from .corked import CorkedProtocol
from .framing import CloseCode
from .handshake import (
    BadHandshake,
    Headers,
    UpgradeRequest,
    accept_response,
    http_response,
    parse_upgrade,
)
from .shared import ServerShared

Message = Mapping[str, Any]


class Phase(Enum):
    CONNECTING = auto()  # the application has not answered the upgrade request
    DENYING = auto()  # the application is sending an HTTP response instead
    OPEN = auto()
    CLOSING = auto()  # the application has closed; the peer's close frame is missing
    CLOSED = auto()  # the peer has closed or is lost, or the server has given up on it


CONNECTING, DENYING, OPEN, CLOSING, CLOSED = Phase


class Opening:
    """What is needed until the handshake is answered; dropped then, to free its memory."""

    __slots__ = ("accept", "body", "client", "headers", "path", "status")

    def __init__(self, accept: bytes, client: tuple[str, int] | None, path: str) -> None:
        self.accept = accept
        self.client = f"{client[0]}:{client[1]}" if client else ""
        # Quoted again: a decoded line break could forge a line of the log.
        self.path = quote(path)
        self.status = 0
        self.headers: Headers = []
        self.body = b""


class OpeningProtocol(CorkedProtocol, ABC):
    """The handshake half of the protocol class; a subclass does what follows.

    An application that does not answer within `open_timeout` is told that its peer has gone.
    """

    __slots__ = ("_opening", "_phase")

    def __init__(self, shared: ServerShared) -> None:
        super().__init__(shared)
        self._phase = CONNECTING
        self._opening: Opening | None = None

    @abstractmethod
    def _start(self, scope: dict[str, Any]) -> None:
        """Run the application with this scope."""

    @abstractmethod
    def _opened(self) -> None:
        """The application has accepted the upgrade."""

    @abstractmethod
    def _mark_closed(self, code: int, reason: str) -> None:
        """Nothing will be received or sent any more."""

    def _start_handshake(self, data: bytes) -> None:
        try:
            request = parse_upgrade(data)
        except BadHandshake as bad:
            self._refuse(bad.status, bad.reason.encode(), bad.headers)
            return
        scope = websocket_scope(request, self._shared, self._transport)
        self._opening = Opening(request.accept, scope["client"], scope["path"])
        self._shared.opening.start(self)
        self._start(scope)

    def open_late(self) -> None:
        if self._opening is not None:
            self._log_answer(self._opening, "no answer in time")
        self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, b"the application did not answer in time")

    def _answer_handshake(self, opening: Opening, message: Message) -> None:
        match message["type"]:
            case "websocket.accept":
                self._accept(opening, message)
            case "websocket.close":
                self._log_answer(opening, "403")
                self._refuse(HTTPStatus.FORBIDDEN, b"")
            case "websocket.http.response.start":
                status = message["status"]
                if not 200 <= status < 600:
                    raise RuntimeError(f"invalid HTTP status {status}; expected 200 to 599")
                self._log_answer(opening, str(status))
                opening.status, opening.headers = status, list(message.get("headers", []))
                self._phase = DENYING
            case other:
                raise RuntimeError(
                    "expected 'websocket.accept', 'websocket.close' or "
                    f"'websocket.http.response.start', got {other!r}"
                )

    def _accept(self, opening: Opening, message: Message) -> None:
        headers = [*self._shared.state.default_headers, *message.get("headers", [])]
        response = accept_response(opening.accept, message.get("subprotocol"), headers)
        self._log_answer(opening, "[accepted]")
        self._shared.opening.stop(self)
        self._opening = None
        self._phase = OPEN
        self._enqueue(response)
        self._opened()

    def _deny(self, opening: Opening, message: Message) -> None:
        if message["type"] != "websocket.http.response.body":
            raise RuntimeError(f"expected 'websocket.http.response.body', got {message['type']!r}")
        opening.body += message.get("body", b"")
        if not message.get("more_body", False):
            self._refuse(opening.status, opening.body, opening.headers)

    def _refuse(self, status: int, body: bytes, headers: Headers | None = None) -> None:
        self._shared.opening.stop(self)
        self._opening = None
        self._mark_closed(CloseCode.ABNORMAL, "")
        self._enqueue(http_response(status, headers or [], body))
        self._close_transport()

    def _log_answer(self, opening: Opening, outcome: str) -> None:
        # Only the path: a query string may hold a token.
        self._shared.logger.info('%s - "WebSocket %s" %s', opening.client, opening.path, outcome)


def websocket_scope(
    request: UpgradeRequest, shared: ServerShared, transport: asyncio.Transport
) -> dict[str, Any]:
    """The ASGI scope of a connection, with the values that uvicorn's own classes give it."""
    root_path = shared.config.root_path
    raw_path, _, query = request.target.partition(b"?")
    return {
        "type": "websocket",
        "asgi": shared.asgi,
        "http_version": "1.1",
        "scheme": "wss" if transport.get_extra_info("sslcontext") else "ws",
        "server": shared.local_address(local_address(transport)),
        "client": remote_address(transport),
        "root_path": root_path,
        "path": root_path + unquote(raw_path.decode("latin-1")),
        "raw_path": root_path.encode("ascii") + raw_path,
        "query_string": query,
        "headers": request.headers,
        "subprotocols": request.subprotocols,
        "state": shared.app_state.copy(),
        "extensions": {"websocket.http.response": {}},
    }
