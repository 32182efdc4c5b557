"""The write side of a connection: coalesced writes, backpressure, and an end that can't hang."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import cast

from .buffers import abort
from .shared import ServerShared

# Corked bytes after which they are written at once: from then on the transport's own limits
# (backpressure) count them.
CORK_LIMIT = 65_536
# Unsent bytes of the transport above which writing is paused. The system's buffer holds more.
HIGH_WATER = 32 * 1024


class CorkedProtocol(asyncio.Protocol, ABC):
    """Collects what it writes until the end of the event loop's pass: one system call for all.

    Bounds the memory of one connection's write side: at most `CORK_LIMIT` bytes and one frame wait
    here. Above the transport's high-water mark, `_write_paused` is true until it has drained.
    """

    __slots__ = (
        "_out",
        "_out_size",
        "_read_paused",
        "_shared",
        "_transport",
        "_write_paused",
    )

    def __init__(self, shared: ServerShared) -> None:
        self._shared = shared
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._out: bytes | list[bytes] | None = None
        self._out_size = 0
        self._read_paused = False
        self._write_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.opening.stop(self)
        self._shared.closing.stop(self)
        self._out = None

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False

    def _close_transport(self) -> None:
        """Close after what is unsent, or abort when that takes longer than `close_timeout`."""
        self.flush()
        if self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size():
            self._shared.closing.start(self)
        self._transport.close()

    @abstractmethod
    def open_late(self) -> None:
        """The application has not answered the handshake in time."""

    def close_late(self) -> None:
        """The peer has not ended the connection in time."""
        abort(self._transport)

    def _enqueue(self, data: bytes) -> None:
        out = self._out
        if out is None:
            self._out = data
            self._shared.cork(self)
        elif isinstance(out, list):
            out.append(data)
        else:
            self._out = [out, data]
        self._out_size += len(data)
        if self._out_size > CORK_LIMIT:
            self.flush()

    def flush(self) -> None:
        """Write what is corked."""
        out, self._out, self._out_size = self._out, None, 0
        if out is not None and not self._transport.is_closing():
            self._transport.write(b"".join(out) if isinstance(out, list) else out)

    def _pause_reading(self) -> None:
        if not self._read_paused and not self._transport.is_closing():
            self._read_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._read_paused and not self._transport.is_closing():
            self._read_paused = False
            self._transport.resume_reading()
