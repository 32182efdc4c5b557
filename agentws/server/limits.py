"""What one peer may cost the server: the numbers of the preset."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """Sizes in bytes, times in seconds. Each is a limit of one connection."""

    max_request_line: int = 8 * 1024
    """The target of a request. A longer one is refused with 414."""
    max_head_size: int = 32 * 1024
    """The headers of a request together. More are refused with 431."""
    max_headers: int = 100
    """The number of headers of a request. More are refused with 431."""
    max_pipelined: int = 16
    """Requests that may wait for the response to an earlier one. With more it is aborted."""
    open_timeout: float = 10.0
    """How long the head of a request may take to arrive, and the application to answer an upgrade
    to a WebSocket. Between two requests uvicorn's ``timeout_keep_alive`` applies instead."""
    close_timeout: float = 2.0
    """How long a peer may take to end a connection that the server closes; then it is aborted."""
    write_timeout: float = 30.0
    """A peer that takes nothing of what was written for this long is aborted, after twice this
    time at the latest."""
    read_rate: int = 1024 * 1024
    """Bytes per second that are read from a WebSocket, on average."""
    read_burst: int = 1024 * 1024
    """Bytes at once before ``read_rate`` applies. Then reading is paused."""
    frame_cost: int = 1024
    """What each WebSocket frame adds to the bytes of these two: a small frame costs time, too."""
    send_buffer: int = 64 * 1024
    """SO_SNDBUF of a connection. Linux doubles it."""
    receive_buffer: int = 64 * 1024
    """SO_RCVBUF of a connection. Linux doubles it."""
