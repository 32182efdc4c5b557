"""A connection until it is open: the upgrade read, the application asked, its answer written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum, auto
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from .corked import CorkedProtocol
from .framing import CloseCode
from .handshake import BadHandshake, Headers, accept_response, http_response, parse_upgrade
from .scope import websocket_scope
from .shared import ServerShared

Message = Mapping[str, Any]


class Phase(Enum):
    CONNECTING = auto()  # the application has not answered the upgrade
    DENYING = auto()  # it is writing an HTTP response instead
    OPEN = auto()
    CLOSING = auto()  # it has closed, the peer has not answered yet
    GONE = auto()  # the peer has closed or is lost, or we gave up on it


CONNECTING, DENYING, OPEN, CLOSING, GONE = Phase


class Opening:
    """What is needed until the handshake is answered, and dropped then."""

    __slots__ = ("accept", "body", "client", "headers", "path", "status")

    def __init__(self, accept: bytes, client: tuple[str, int] | None, path: str) -> None:
        self.accept = accept
        self.client = f"{client[0]}:{client[1]}" if client else ""
        # Quoted again: a decoded line break would forge a line of the log.
        self.path = quote(path)
        self.status = 0
        self.headers: Headers = []
        self.body = b""


class OpeningProtocol(CorkedProtocol, ABC):
    """The handshake half; what follows it is a subclass's."""

    __slots__ = ("_opening", "_phase")

    def __init__(self, shared: ServerShared) -> None:
        super().__init__(shared)
        self._phase = CONNECTING
        self._opening: Opening | None = None

    @abstractmethod
    def _start(self, scope: dict[str, Any]) -> None:
        """Run the application over this scope."""

    @abstractmethod
    def _opened(self) -> None:
        """The upgrade was accepted."""

    @abstractmethod
    def _gone(self, code: int, reason: str) -> None:
        """Nothing more will come or go."""

    def _begin(self, data: bytes) -> None:
        try:
            request = parse_upgrade(data)
        except BadHandshake as bad:
            self._refuse(bad.status, bad.reason.encode())
            return
        scope = websocket_scope(request, self._shared, self._transport)
        self._opening = Opening(request.accept, scope["client"], scope["path"])
        self._start(scope)

    def _answer(self, opening: Opening, message: Message) -> None:
        match message["type"]:
            case "websocket.accept":
                self._accept(opening, message)
            case "websocket.close":
                self._log_answer(opening, "403")
                self._refuse(HTTPStatus.FORBIDDEN, b"")
            case "websocket.http.response.start":
                status = message["status"]
                if not 200 <= status < 600:
                    raise RuntimeError(f"invalid HTTP status {status} in a response")
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
        self._opening = None
        self._phase = OPEN
        self._put(response)
        self._opened()

    def _deny(self, opening: Opening, message: Message) -> None:
        if message["type"] != "websocket.http.response.body":
            raise RuntimeError(f"expected 'websocket.http.response.body', got {message['type']!r}")
        opening.body += message.get("body", b"")
        if not message.get("more_body", False):
            self._refuse(opening.status, opening.body, opening.headers)

    def _refuse(self, status: int, body: bytes, headers: Headers | None = None) -> None:
        self._opening = None
        self._gone(CloseCode.ABNORMAL, "")
        self._put(http_response(status, headers or [], body))
        self._hang_up()

    def _log_answer(self, opening: Opening, outcome: str) -> None:
        # The path alone: a query may carry a token.
        self._shared.logger.info('%s - "WebSocket %s" %s', opening.client, opening.path, outcome)
