"""Deadlines of an HTTP connection: for a request's head, for a late body, for unread responses."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final

from .buffers import abort
from .handshake import http_response
from .heads import MALFORMED, BadHead, HeadCount
from .shared import ServerShared
from .streaming import is_unbounded

LINGER: Final = 256 * 1024
"""Bytes of a refused peer that are read and dropped, so that it gets the refusal: a connection that
is closed with unread bytes is reset."""


class HttpGuard:
    """What the protocol classes for HTTP add to those of uvicorn.

    It refers to the transport and not to the protocol: the protocol is freed when its connection
    becomes a WebSocket.
    """

    __slots__ = (
        "_dropped",
        "_ending",
        "_shared",
        "_transport",
        "_unsent",
        "_unsent_at_stop",
        "count",
        "refusal",
        "refused",
    )

    def __init__(self, shared: ServerShared) -> None:
        self._shared = shared
        self._transport: asyncio.Transport
        self._dropped = 0
        self._ending = False
        self._unsent: int | None = None
        self._unsent_at_stop: int | None = None
        self.count = HeadCount(shared.limits)
        self.refusal: BadHead | None = None
        """Why the request is refused, when a parser's own error does not say it."""
        self.refused = False

    def connected(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._shared.limit_buffers(transport)
        self._shared.opening.start(self)

    def lost(self) -> None:
        """The connection has ended, or is a WebSocket now."""
        shared = self._shared
        shared.opening.stop(self)
        shared.closing.stop(self)
        shared.writing.stop(self)

    # Reading

    def read(self, *, in_head: bool, body_is_late: bool) -> None:
        """Call it after the parser was fed: is a head incomplete, or the body of a request that was
        answered already?"""
        shared = self._shared
        (shared.opening.start if in_head else shared.opening.stop)(self)
        if body_is_late:
            # The peer may still read the response; it can't send another request before that.
            shared.closing.start(self)
        elif not self._ending:
            shared.closing.stop(self)

    def open_late(self) -> None:
        self._abort()

    def refuse(self, *, answering: bool) -> None:
        """Answer a bad request and close. ``answering``: an earlier one has no response yet."""
        transport, bad = self._transport, self.refusal
        self.refused = self._ending = True
        if answering or transport.is_closing():
            # A refusal would be taken for the response to the earlier request.
            self._abort()
            return
        bad = bad or BadHead(HTTPStatus.BAD_REQUEST, MALFORMED)
        transport.write(http_response(bad.status, [], bad.reason.encode()))
        self._shared.opening.stop(self)
        self._shared.closing.start(self)
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def drop(self, size: int) -> None:
        """A refused peer has sent this much more."""
        self._dropped += size
        if self._dropped > LINGER and not self._transport.is_closing():
            self._transport.pause_reading()

    # Writing

    def watch_writes(self) -> None:
        """Call it when bytes wait to be sent: they must leave in time."""
        if self._transport.get_write_buffer_size():
            self._shared.writing.start(self)

    def writes_resumed(self) -> None:
        self._shared.writing.stop(self)
        self._unsent = None

    def write_late(self) -> None:
        """A part of the time for writes has passed: abort if nothing has left since the last."""
        unsent = self._transport.get_write_buffer_size()
        if unsent and unsent == self._unsent:
            self._abort()
            return
        self._unsent = unsent
        if unsent:
            self._shared.writing.start(self)

    def stopping(self) -> None:
        """The server stops: a peer that takes nothing of its response is not waited for."""
        unsent = self._transport.get_write_buffer_size()
        if unsent and not self._transport.is_closing():
            self._unsent_at_stop = unsent
        elif not self._transport.is_closing() and not self.refused:
            return
        self._ending = True
        self._shared.closing.start(self)

    def close_late(self) -> None:
        unsent = self._transport.get_write_buffer_size()
        if self._unsent_at_stop is None or self._unsent_at_stop == unsent:
            self._abort()
            return
        self._unsent_at_stop = unsent
        if unsent:
            self._shared.closing.start(self)

    def _abort(self) -> None:
        abort(self._transport)


class GuardedProtocol(asyncio.Protocol):
    """Tells a guard what happens to the connection of one of uvicorn's classes for HTTP.

    It stands before that class among the bases, so each method calls the one of uvicorn once.
    """

    transport: asyncio.Transport
    cycle: Any
    headers: list[tuple[bytes, bytes]]
    _guard: HttpGuard

    def _check_progress(self) -> None:
        raise NotImplementedError

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._guard.connected(transport)

    def _get_upgrade(self) -> bytes | None:
        """The protocol that the request asks for. uvicorn reads the last ``Connection`` header
        only, but they are one list together: some proxies add one of their own."""
        upgrade, is_asked = None, False
        for name, value in self.headers:
            if name == b"connection":
                is_asked |= b"upgrade" in [token.strip() for token in value.lower().split(b",")]
            elif name == b"upgrade":
                upgrade = value.lower()
        return upgrade if is_asked else None

    def send_400_response(self, msg: str) -> None:
        cycle = self.cycle
        self._guard.refuse(answering=cycle is not None and not cycle.response_complete)

    def on_response_complete(self) -> None:
        super().on_response_complete()  # type: ignore[misc]
        self._guard.watch_writes()
        if not self.transport.is_closing():
            self._check_progress()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._guard.watch_writes()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._guard.writes_resumed()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()  # type: ignore[misc]
        self._guard.watch_writes()

    def shutdown(self) -> None:
        if not self._guard.refused:
            super().shutdown()  # type: ignore[misc]
        if is_unbounded(self.cycle):
            self.transport.close()
        self._guard.stopping()
