"""uvicorn's httptools protocol with limits and deadlines, freed from memory by an upgrade."""

from __future__ import annotations

import sys
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .guarding import GuardedProtocol, HttpGuard
from .heads import BadHead, check_framing
from .shared import ServerShared
from .streaming import offer_mark


class PresetHttpToolsProtocol(GuardedProtocol, HttpToolsProtocol):
    """Bounds the head of a request, and hands an upgraded connection over to the WebSocket class.

    A callback of the parser refuses the request by raising; uvicorn then sends a response of 400.
    """

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        shared = ServerShared.of(config, server_state, app_state, _loop)
        self._guard = HttpGuard(shared)
        self._hardening = shared.hardening
        self._fed = 0
        """Bytes since the parser has last completed something."""
        self._in_head = False
        self._in_body = False
        self._stopped_at = 0
        """Where in the bytes just read the parser stopped, behind an offer of another protocol."""
        self._declined = b""
        """The head of the request that made the offer, without it; empty if it has no body."""
        self._current: Any = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # uvicorn tells only the latest request of a pipeline that its peer is gone, which would
        # leave the application of the current one waiting for ever.
        current = self._current
        if current is not None and not current.response_complete:
            current.disconnected = True
            current.message_event.set()
        self._guard.lost()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._current = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        guard = self._guard
        if guard.refused:
            guard.drop(len(data))
            return
        guard.count.new_read()
        while data:
            self._fed += len(data)
            super().data_received(data)
            if self.parser is None or guard.refused:
                return
            data = self._behind_offer(data)
        try:
            guard.count.incomplete(self._fed)
        except BadHead as bad:
            guard.refusal = bad
            self.send_400_response(bad.reason)
            return
        self._check_progress()

    def _behind_offer(self, data: bytes) -> bytes:
        """What is still to be read of ``data``; nothing, unless the parser has stopped in it.

        It stops behind the head of a request with an ``Upgrade`` header, as if the rest were in the
        other protocol, and without the body. For an offer other than WebSocket, which a server may
        ignore, the rest is HTTP: a client loses its body, and a body could hold another request
        (request smuggling). So a request with a body is parsed again, without its offer.
        """
        if not self._stopped_at:
            return b""
        rest = self._declined + data[self._stopped_at :]
        self._stopped_at, self._declined = 0, b""
        return rest

    def _unsupported_upgrade_warning(self) -> None:
        super()._unsupported_upgrade_warning()
        # uvicorn calls this while it handles the exception by which the parser says where it was.
        self._stopped_at = cast(httptools.HttpParserUpgrade, sys.exception()).args[0]

    def _check_progress(self) -> None:
        if self.parser is None:
            return
        cycle = self.cycle
        answered = cycle is not None and cycle.response_complete
        self._guard.read(
            in_head=self._in_head or self._fed > 0 and not self._in_body,
            body_is_late=answered and self._in_body,
        )

    # Called by the parser.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._guard.count.restart()
        offer_mark(self.scope, self._hardening)  # type: ignore[arg-type]

    def on_url(self, url: bytes) -> None:
        self._checked(self._guard.count.target, len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._checked(self._guard.count.header, len(name), len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        has_body = self._checked(check_framing, self.headers, version)
        self._fed = 0
        self._in_head, self._in_body = False, True
        if has_body and self.parser.should_upgrade() and not self._should_upgrade():
            line = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version.encode())
            self._declined = _without_offer(line, self.headers)
            if self._declined:
                return
        self._checked(self._guard.count.pipelined, len(self.pipeline))
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._checked(self._guard.count.chunk)
        self._fed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._declined:
            return
        self._fed = 0
        self._in_body = False
        super().on_message_complete()

    def _checked(self, check: Any, *arguments: Any) -> Any:
        try:
            return check(*arguments)
        except BadHead as bad:
            self._guard.refusal = bad
            raise

    # The rest of a connection's life.

    def handle_websocket_upgrade(self) -> None:
        self._guard.lost()
        super().handle_websocket_upgrade()
        # The parser refers back to this object: with this cycle both would live until a full
        # garbage collection.
        self.parser = cast(httptools.HttpRequestParser, None)


def _without_offer(line: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """A head without its ``Upgrade`` headers; empty if it has none, as that of a CONNECT."""
    kept = [(name, value) for name, value in headers if name != b"upgrade"]
    if len(kept) == len(headers):
        return b""
    return b"\r\n".join([line, *(b"%b: %b" % header for header in kept), b"\r\n"])
