"""Lines from standard input while an event loop runs, and text that is safe to show."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterable
from typing import Final

from .problem import USAGE, Problem

_CHUNK: Final = 64 * 1024
# Control characters but tab and newline: what an agent says must not steer the terminal.
_UNSAFE: Final = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def printable(text: str) -> str:
    return text.translate(_UNSAFE)


def open_input() -> int:
    """The descriptor of standard input; raises Problem where it is closed."""
    if sys.stdin is None:
        raise nothing_to_send()
    return sys.stdin.fileno()


def nothing_to_send() -> Problem:
    return Problem("there is nothing on standard input to send", status=USAGE)


async def read_lines(descriptor: int) -> AsyncIterator[str]:
    """The lines of ``descriptor``, without their ends, until it has no more.

    Read by a thread, which is the one way that works for terminals, pipes and files on every
    system. It reads the descriptor itself: Python's buffered input can't be left mid-read on exit.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    encodings = _encodings(descriptor)

    def put(line: str | None) -> None:
        try:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        except RuntimeError:
            return  # the loop is gone, and so is whoever wanted the line

    def read() -> None:
        for line in _split(_chunks(descriptor)):
            put(decoded(line, encodings))
        put(None)

    threading.Thread(target=read, name="agentws input", daemon=True).start()
    while (line := await lines.get()) is not None:
        yield line


def read_all(descriptor: int) -> str:
    return decoded(b"".join(_chunks(descriptor)), _encodings(descriptor))


def decoded(data: bytes, encodings: Iterable[str]) -> str:
    """``data`` as UTF-8, else in the first of ``encodings`` that it fits, else with marks where
    it does not fit. A byte order mark is no part of it."""
    for encoding in ("utf-8-sig", *encodings):
        try:
            return data.decode(encoding)
        except (UnicodeError, LookupError):
            continue
    return data.decode("utf-8-sig", "replace")


def _encodings(descriptor: int) -> list[str]:
    """What a terminal or a program that does not write UTF-8 may write instead."""
    known = (sys.stdin.encoding, os.device_encoding(descriptor))
    return [encoding for encoding in known if encoding]


def _chunks(descriptor: int) -> Iterable[bytes]:
    """What can be read, until there is no more; UTF-16 with a byte order mark as UTF-8."""
    start = _read(descriptor)
    # A mark may come in two parts. A line of a terminal does not begin like one.
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
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:
        return b""  # the terminal was closed


def _split(chunks: Iterable[bytes]) -> Iterable[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.removesuffix(b"\r") for line in whole)
    if rest:
        yield rest
