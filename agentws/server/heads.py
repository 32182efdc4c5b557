"""Checks of a request's head that the HTTP parsers do not make.

Two servers that disagree about where a request ends can be made to see different requests (request
smuggling). So whatever is ambiguous there is refused, also where a parser would choose a reading.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from .limits import ServerLimits

MAX_CHUNKS: Final = 2048
"""Pieces of a body that one read may bring: each costs as much time as a small message. A client
that sends a body in smaller pieces on purpose could block the event loop."""
OVERHEAD: Final = 4
"""Bytes of a header line besides its name and value: colon, space and line break."""


class BadHead(Exception):
    """A head that is refused with this HTTP status; the reason is sent to the peer."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


LINE_TOO_LONG: Final = "The request line is too long."
HEADERS_TOO_LARGE: Final = "The headers of the request are too large."
AMBIGUOUS: Final = "The length of the request's body is ambiguous."
TOO_MANY_CHUNKS: Final = "The body of the request is in too many pieces."
MALFORMED: Final = "Invalid HTTP request received."


class HeadCount:
    """Counts a head as it arrives; each method raises `BadHead`. Trailers count as headers."""

    __slots__ = ("_chunks", "_headers", "_limits", "_size", "_target")

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._chunks = 0
        self.restart()

    def restart(self) -> None:
        """A new head begins."""
        self._target = self._headers = self._size = 0

    def target(self, size: int) -> None:
        """A part of the request's target has arrived."""
        self._target += size
        if self._target > self._limits.max_request_line:
            raise BadHead(HTTPStatus.REQUEST_URI_TOO_LONG, LINE_TOO_LONG)

    def header(self, name: int, value: int) -> None:
        """A header has arrived; the sizes of its name and value."""
        self._headers += 1
        self._size += name + value + OVERHEAD
        limits = self._limits
        if self._headers > limits.max_headers or self._size > limits.max_head_size:
            raise BadHead(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, HEADERS_TOO_LARGE)

    def new_read(self) -> None:
        """Bytes have been read."""
        self._chunks = 0

    def chunk(self) -> None:
        """A piece of a body was among them."""
        self._chunks += 1
        if self._chunks > MAX_CHUNKS:
            raise BadHead(HTTPStatus.BAD_REQUEST, TOO_MANY_CHUNKS)

    def pipelined(self, waiting: int) -> None:
        """This many requests wait for the response to an earlier one."""
        if waiting >= self._limits.max_pipelined:
            raise BadHead(HTTPStatus.BAD_REQUEST, MALFORMED)

    def incomplete(self, size: int) -> None:
        """This many bytes have arrived without completing anything."""
        limits = self._limits
        if size > limits.max_request_line + limits.max_head_size:
            raise BadHead(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, HEADERS_TOO_LARGE)


def check_framing(headers: Iterable[tuple[bytes, bytes]], version: str) -> bool:
    """Whether there is a body. Raise `BadHead` when the headers leave in doubt where it ends.

    Names are in lower case; `version` is "1.0" or "1.1".
    """
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if not lengths and not codings:
        return False
    if len(lengths) + len(codings) > 1:
        raise BadHead(HTTPStatus.BAD_REQUEST, AMBIGUOUS)
    if lengths and not (lengths[0].isascii() and lengths[0].isdigit()):
        raise BadHead(HTTPStatus.BAD_REQUEST, AMBIGUOUS)
    if codings and (codings[0].lower() != b"chunked" or version == "1.0"):
        raise BadHead(HTTPStatus.BAD_REQUEST, AMBIGUOUS)
    return True
