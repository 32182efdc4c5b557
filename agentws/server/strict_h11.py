"""uvicorn's h11 protocol with limits and deadlines; used if httptools is not installed."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
from h11._receivebuffer import ReceiveBuffer
from uvicorn.protocols.http.h11_impl import H11Protocol

from .guarding import GuardedProtocol, HttpGuard
from .heads import MALFORMED, BadHead, check_framing
from .shared import ServerShared
from .streaming import offer_mark


class StrictBuffer(ReceiveBuffer):
    """The bytes that h11 has not parsed yet. Checks each head that it takes from here.

    h11 itself accepts what an older HTTP allowed: folded headers, lines that end without CR, and
    two ways to say the length of a body.
    """

    def __init__(self, guard: HttpGuard) -> None:
        super().__init__()
        self._guard = guard
        self._taken = bytearray()

    def _extract(self, count: int) -> bytearray:
        self._taken = super()._extract(count)
        return self._taken

    def maybe_extract_lines(self) -> list[bytearray] | None:
        lines = super().maybe_extract_lines()
        if lines:
            self._checked(self._check, [bytes(line) for line in lines])
        return lines

    def maybe_extract_next_line(self) -> bytearray | None:
        # The size of a chunk.
        self._checked(self._guard.count.chunk)
        return super().maybe_extract_next_line()

    def _checked(self, check: Callable[..., None], *arguments: Any) -> None:
        try:
            check(*arguments)
        except BadHead as bad:
            self._guard.refusal = bad
            raise h11.RemoteProtocolError(bad.reason, bad.status) from None

    def _check(self, lines: list[bytes]) -> None:
        count = self._guard.count
        count.restart()
        if self._taken.count(b"\n") != self._taken.count(b"\r\n"):
            raise BadHead(HTTPStatus.BAD_REQUEST, MALFORMED)
        # Trailers have no such line; their first one is then counted as a target.
        count.target(len(lines[0]))
        headers = []
        for line in lines[1:]:
            if line[:1] in (b" ", b"\t"):
                raise BadHead(HTTPStatus.BAD_REQUEST, MALFORMED)
            name, _, value = line.partition(b":")
            count.header(len(name), len(value))
            headers.append((name.lower(), value.strip(b" \t")))
        check_framing(headers, lines[0][-3:].decode("latin-1"))


class PresetH11Protocol(GuardedProtocol, H11Protocol):
    """Bounds the head of a request, and offers its response to be marked as unbounded."""

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        shared = ServerShared.of(config, server_state, app_state, _loop)
        self._guard = HttpGuard(shared)
        self._buffer = self.conn._receive_buffer = StrictBuffer(self._guard)
        self._upgraded = False
        application: Any = self.app

        async def offering(scope: Any, receive: Any, send: Any) -> None:
            # Added here because uvicorn makes the scope and starts its task in one step: with an
            # eager task factory the application runs before the protocol could add anything.
            offer_mark(scope, shared.hardening)
            await application(scope, receive, send)

        self.app = offering

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._guard.lost()

    def data_received(self, data: bytes) -> None:
        if self._guard.refused:
            self._guard.drop(len(data))
            return
        self._guard.count.new_read()
        super().data_received(data)
        self._check_progress()

    def _check_progress(self) -> None:
        state, cycle = self.conn.their_state, self.cycle
        if self._guard.refused or self._upgraded:
            return
        answered = cycle is not None and cycle.response_complete
        self._guard.read(
            in_head=state is h11.IDLE and len(self._buffer) > 0,
            body_is_late=answered and state is h11.SEND_BODY,
        )

    def send_400_response(self, msg: str) -> None:
        guard = self._guard
        if guard.refusal is None:
            # h11 refuses a buffer that is too long as any other error.
            try:
                guard.count.incomplete(len(self._buffer))
            except BadHead as bad:
                guard.refusal = bad
        super().send_400_response(msg)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._upgraded = True
        self._guard.lost()
        super().handle_websocket_upgrade(event)
