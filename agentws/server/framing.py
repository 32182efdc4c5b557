"""RFC 6455 frames on the server side: a parser for client frames, builders for server frames.

No I/O, no clock. The parser turns a byte stream, split in any way, into whole messages and control
frames, and raises `FramingError` with the close code of what was wrong. It holds at most one
message of `max_size` bytes, plus the bytes that were fed and not parsed yet.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA


class CloseCode(IntEnum):
    """The close codes that a WebSocket server itself uses."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_DATA = 1007
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012


class FramingError(Exception):
    """The peer broke the protocol; `code` is the close code to send, `reason` a short text."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Close(NamedTuple):
    """The payload of a close frame; `code` is 1005 when the frame was empty."""

    code: int
    reason: str


FRAGMENT: Final = (CONTINUATION, b"")
"""What the parser returns for a fragment of a message that is not complete yet."""
_UNSIGNED_16: Final = Struct("!H")
_UNSIGNED_64: Final = Struct("!Q")
_HEAD_16: Final = Struct("!BBH")
_HEAD_64: Final = Struct("!BBQ")
_FIN: Final = 0x80
_MASKED: Final = 0x80
_RESERVED_BITS: Final = 0x70
_CONTROL_BIT: Final = 0x8
_SHORT: Final = 125  # the longest payload without an extended length, and of a control frame
# Valid first bytes of a frame: control frames are never fragmented, other opcodes are reserved.
_VALID_HEADS: Final = frozenset(
    {CONTINUATION, TEXT, BINARY}
    | {_FIN | opcode for opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)}
)
# RFC 6455 section 7.4 and the IANA registry: codes that a close frame may carry.
_SENDABLE_CLOSE_CODES: Final = frozenset(
    {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
)


class MessageParser:
    """Parses the byte stream of one client.

    `feed` bytes as they arrive, then call `next` until it returns `None`: `(TEXT, str)`,
    `(BINARY, bytes)`, `(CLOSE, Close)`, `(PING, bytes)` or `(PONG, bytes)`. Each frame is one call:
    a fragment that completes no message is `FRAGMENT`. After `FramingError` or a close frame the
    parser must not be used again.
    """

    __slots__ = ("_at", "_fragments", "_kind", "_max_size", "_remaining", "unparsed")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._remaining = max_size
        self.unparsed: bytes | bytearray = b""
        """The bytes in which the next frame is looked for: empty if there is none."""
        self._at = 0
        self._fragments: bytearray | None = None
        self._kind = CONTINUATION

    def feed(self, data: bytes) -> None:
        """Add bytes that the transport has read."""
        rest = self.unparsed
        if self._at < len(rest):
            # Appending to bytes would copy all of it on every read: quadratic for many tiny reads.
            if not isinstance(rest, bytearray):
                rest = bytearray(memoryview(rest)[self._at :])
            elif self._at:
                del rest[: self._at]
            rest += data
            self.unparsed = rest
        else:
            self.unparsed = data
        self._at = 0

    def next(self) -> tuple[int, str | bytes | Close] | None:
        """What the next frame brings, or `None` when more bytes are needed.

        Raises `FramingError`.
        """
        frame = self._next_frame()
        if frame is None:
            return None
        head, payload = frame
        opcode = head & 0x0F
        if opcode & _CONTROL_BIT:
            return opcode, _parse_close(payload) if opcode == CLOSE else payload
        if not opcode or head < _FIN or self._fragments is not None:
            whole = self._add_fragment(opcode, payload, last=head >= _FIN)
            if whole is None:
                return FRAGMENT
            opcode, payload = self._kind, whole
        if opcode == BINARY:
            return opcode, payload
        try:
            return opcode, payload.decode()
        except UnicodeDecodeError:
            raise FramingError(CloseCode.INVALID_DATA, "invalid UTF-8") from None

    def _next_frame(self) -> tuple[int, bytes] | None:
        data, at = self.unparsed, self._at
        available = len(data) - at
        if available < 2:
            return None
        head, second = data[at], data[at + 1]
        if head not in _VALID_HEADS or second < _MASKED:
            raise _bad_head(head, second)
        length, start = second & 0x7F, at + 6
        if length > _SHORT:
            if head & _CONTROL_BIT:
                raise FramingError(CloseCode.PROTOCOL_ERROR, "control frame too long")
            extended = _UNSIGNED_64 if length > 126 else _UNSIGNED_16
            if available < 2 + extended.size:
                return None
            length = extended.unpack_from(data, at + 2)[0]
            start += extended.size
        # Checked in the header, so that an oversize frame is refused before its payload arrives.
        if length > self._remaining and not head & _CONTROL_BIT:
            raise FramingError(CloseCode.TOO_BIG, "message too big")
        end = start + length
        if len(data) < end:
            return None
        payload = _unmask(data[start:end], data[start - 4 : start]) if length else b""
        if end == len(data):
            # Frees a buffer that may be large.
            self.unparsed, self._at = b"", 0
        else:
            self._at = end
        return head, payload

    def _add_fragment(self, opcode: int, payload: bytes, *, last: bool) -> bytes | None:
        fragments = self._fragments
        if opcode:
            if fragments is not None:
                raise FramingError(CloseCode.PROTOCOL_ERROR, "message inside a fragmented message")
            self._kind = opcode
            self._fragments = bytearray(payload)
            self._remaining -= len(payload)
            return None
        if fragments is None:
            raise FramingError(CloseCode.PROTOCOL_ERROR, "continuation without a message")
        # One growing buffer: a list of one-byte fragments would need sixty times their size.
        fragments += payload
        self._remaining -= len(payload)
        if not last:
            return None
        self._fragments = None
        self._remaining = self._max_size
        return bytes(fragments)


def _bad_head(head: int, second: int) -> FramingError:
    if head & _RESERVED_BITS:
        reason = "reserved bits set"
    elif second < _MASKED and head in _VALID_HEADS:
        reason = "frame not masked"
    elif head | _FIN in _VALID_HEADS:
        reason = "fragmented control frame"
    else:
        reason = "unknown opcode"
    return FramingError(CloseCode.PROTOCOL_ERROR, reason)


def _unmask(masked: bytes | bytearray, mask: bytes | bytearray) -> bytes:
    # One wide XOR is the fastest way without a compiled extension.
    size = len(masked)
    key = (mask * (size // 4 + 1))[:size]
    clear = int.from_bytes(masked, "little") ^ int.from_bytes(key, "little")
    return clear.to_bytes(size, "little")


def _parse_close(payload: bytes) -> Close:
    if not payload:
        return Close(CloseCode.NO_STATUS, "")
    if len(payload) == 1:
        raise FramingError(CloseCode.PROTOCOL_ERROR, "truncated close code")
    code: int = _UNSIGNED_16.unpack_from(payload)[0]
    if code not in _SENDABLE_CLOSE_CODES:
        raise FramingError(CloseCode.PROTOCOL_ERROR, "invalid close code")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError:
        raise FramingError(CloseCode.INVALID_DATA, "invalid UTF-8 in close reason") from None


def _frame(head: int, payload: bytes) -> bytes:
    size = len(payload)
    if size <= _SHORT:
        return bytes((head, size)) + payload
    if size < 65_536:
        return _HEAD_16.pack(head, 126, size) + payload
    return _HEAD_64.pack(head, 127, size) + payload


def frame_text(payload: bytes) -> bytes:
    """A server's text message in one frame; `payload` must be UTF-8."""
    return _frame(_FIN | TEXT, payload)


def frame_binary(payload: bytes) -> bytes:
    """A server's binary message in one frame."""
    return _frame(_FIN | BINARY, payload)


def frame_ping(payload: bytes) -> bytes:
    """A ping; `payload` is at most 125 bytes."""
    return _frame(_FIN | PING, payload)


def frame_pong(payload: bytes) -> bytes:
    """The answer to a ping with this payload."""
    return _frame(_FIN | PONG, payload)


def frame_close(code: int, reason: str = "") -> bytes:
    """A close frame. 1005 and 1006 are never sent: they give an empty frame.

    A reason that is too long for a control frame is cut between characters.
    """
    if code in (CloseCode.NO_STATUS, CloseCode.ABNORMAL):
        return _frame(_FIN | CLOSE, b"")
    text = reason.encode("utf-8", "replace")[: _SHORT - 2].decode("utf-8", "ignore")
    return _frame(_FIN | CLOSE, _UNSIGNED_16.pack(code) + text.encode())
