"""Standard input, output and error: terminals, pipes and files of any encoding."""

from __future__ import annotations

import asyncio
import codecs
import io
import os
import select
import sys
import threading
from collections.abc import AsyncIterator, Iterable
from typing import Final

from .problem import USAGE, Problem

# Output

_LENIENT: Final = frozenset(
    {"backslashreplace", "ignore", "namereplace", "replace", "xmlcharrefreplace"}
)
"""Error handlers of a stream that do not raise for a character outside its encoding."""
_JSON_ESCAPES: Final = "agentws.json"
# Control characters except tab and newline: an agent's text must not control the terminal.
_UNSAFE: Final = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])


def printable(text: str) -> str:
    """``text`` without control characters."""
    return text.translate(_UNSAFE)


def escape_what_is_not_encodable() -> None:
    """Makes standard output and error write ``\\u4f60`` for a character outside their encoding,
    instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors not in _LENIENT:
            stream.reconfigure(errors="backslashreplace")


def escape_as_json() -> None:
    """Makes standard output escape a character outside its encoding as JSON does."""
    codecs.register_error(_JSON_ESCAPES, _json_escapes)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_JSON_ESCAPES)


def _json_escapes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    escapes = (f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
    return "".join(escapes), error.end


def check_output() -> None:
    """Raises Problem if standard output is closed."""
    if sys.stdout is None:
        raise Problem("standard output is closed: the answer can't be shown")


def write(text: str) -> None:
    """Writes to standard output and flushes: an answer is read while it is written.

    Raises Problem if writing fails, and BrokenPipeError if the reader has closed the pipe.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise Problem(f"standard output can't be written to: {error.strerror}") from error


def discard_output() -> None:
    """Redirects standard output to the null device, so that the flush at exit can not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def remark(text: str) -> None:
    """Writes a remark about the chat to standard error, if that is open."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


# Input

_CHUNK: Final = 64 * 1024
AHEAD: Final = 100
"""Lines that are read before they are wanted: a file of many messages must not fill the memory."""
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def open_input() -> int:
    """The descriptor of standard input; raises Problem if it is closed."""
    if sys.stdin is None:
        raise nothing_to_send()
    return sys.stdin.fileno()


def nothing_to_send() -> Problem:
    return Problem("there is nothing on standard input to send", status=USAGE)


async def read_lines(descriptor: int) -> AsyncIterator[str]:
    """The lines of ``descriptor``, without line ends, until its end.

    A thread reads them: that works for terminals, pipes and files on every system. It reads the
    descriptor itself, because Python's buffered input can't be left in the middle of a read.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    encodings = _encodings(descriptor)
    room = threading.Semaphore(AHEAD)

    def pass_on(line: str | None) -> None:
        try:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        except RuntimeError:
            return  # the loop is closed: nobody waits for the line

    def read() -> None:
        for line in _split(_chunks(descriptor)):
            room.acquire()
            pass_on(decoded(line, encodings))
        pass_on(None)

    threading.Thread(target=read, name="agentws input", daemon=True).start()
    while (line := await lines.get()) is not None:
        room.release()
        yield line


def read_all(descriptor: int) -> str:
    return decoded(b"".join(_chunks(descriptor)), _encodings(descriptor))


def decoded(data: bytes, encodings: Iterable[str]) -> str:
    """``data`` as UTF-8, else in the first of ``encodings`` that fits, else as UTF-8 with
    replacement characters. A byte order mark is removed."""
    for encoding in ("utf-8-sig", *encodings):
        try:
            return data.decode(encoding)
        except (UnicodeError, LookupError):
            continue
    return data.decode("utf-8-sig", "replace")


def _encodings(descriptor: int) -> list[str]:
    """The encodings that a terminal or a program without UTF-8 may use."""
    known = (sys.stdin.encoding, os.device_encoding(descriptor))
    return [encoding for encoding in known if encoding]


def _chunks(descriptor: int) -> Iterable[bytes]:
    """All that can be read; UTF-16 with a byte order mark is converted to UTF-8."""
    start = _read(descriptor)
    # A mark may arrive in two reads. A line from a terminal never begins with half a mark.
    while len(start) == 1 and start in {mark[:1] for mark in _UTF16}:
        more = _read(descriptor)
        if not more:
            break
        start += more
    decoder = codecs.getincrementaldecoder("utf-16")("replace")
    is_utf16 = start.startswith(_UTF16)
    data = start
    while data:
        yield decoder.decode(data).encode("utf-8", "replace") if is_utf16 else data
        data = _read(descriptor)
    if is_utf16:
        yield decoder.decode(b"", final=True).encode("utf-8", "replace")


def _read(descriptor: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, _CHUNK)
        except BlockingIOError:
            # The program at the other end of the pipe, or a parent, has made it non-blocking.
            select.select([descriptor], [], [])
        except OSError:
            return b""  # the terminal was closed


def _split(chunks: Iterable[bytes]) -> Iterable[bytes]:
    begun: list[bytes] = []
    for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            yield b"".join((*begun, end)).removesuffix(b"\r")
            begun.clear()
        # Joined only once: a long line arrives in very many pieces.
        begun.append(rest)
    if last := b"".join(begun):
        yield last
