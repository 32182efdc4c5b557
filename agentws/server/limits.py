"""What one peer may cost the server: the numbers of the preset."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ..settings import Count, CountOrZero, Seconds, check_settings

BufferSize = Annotated[
    int, Meta(ge=1, le=2**31 - 1, description="a whole number from 1 to 2**31 - 1")
]
"""What the system takes as the size of a socket's buffer."""


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds. Each is a limit of one connection."""

    max_request_line: Count = 8 * 1024
    """The target of a request. A longer one is refused with 414."""
    max_head_size: Count = 32 * 1024
    """The headers of a request together. More are refused with 431."""
    max_headers: Count = 100
    """The number of headers of a request. More are refused with 431."""
    max_pipelined: Count = 16
    """Requests that may wait for the response to an earlier one. With more it is aborted."""
    open_timeout: Seconds = 10.0
    """How long the head of a request may take to arrive, and the application to answer an upgrade
    to a WebSocket. Between two requests uvicorn's ``timeout_keep_alive`` applies instead."""
    close_timeout: Seconds = 2.0
    """How long a peer may take to end a connection that the server closes; then it is aborted."""
    write_timeout: Seconds = 30.0
    """A peer that takes nothing of what was written for this long is aborted, after twice this
    time at the latest."""
    read_rate: Count = 1024 * 1024
    """Bytes per second that are read from a WebSocket, on average."""
    read_burst: Count = 1024 * 1024
    """Bytes at once before ``read_rate`` applies. Then reading is paused."""
    frame_cost: CountOrZero = 1024
    """What each WebSocket frame adds to the bytes of these two: a small frame costs time, too."""
    send_buffer: BufferSize = 64 * 1024
    """SO_SNDBUF of a connection. Linux doubles it."""
    receive_buffer: BufferSize = 64 * 1024
    """SO_RCVBUF of a connection. Linux doubles it."""

    def __post_init__(self) -> None:
        check_settings(self)
