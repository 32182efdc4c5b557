"""Lines from standard input while an event loop runs, and text that is safe to show."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterable
from typing import Final

_CHUNK: Final = 64 * 1024
# Control characters but tab and newline: what an agent says must not steer the terminal.
_UNSAFE: Final = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])


def printable(text: str) -> str:
    return text.translate(_UNSAFE)


async def read_lines(descriptor: int) -> AsyncIterator[str]:
    """The lines of ``descriptor``, without their ends, until it has no more.

    Read by a thread, which is the one way that works for terminals, pipes and files on every
    system. It reads the descriptor itself: Python's buffered input can't be left mid-read on exit.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def put(line: str | None) -> None:
        try:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        except RuntimeError:
            return  # the loop is gone, and so is whoever wanted the line

    def read() -> None:
        for line in _split(_chunks(descriptor)):
            put(line)
        put(None)

    threading.Thread(target=read, name="agentws input", daemon=True).start()
    while (line := await lines.get()) is not None:
        yield line


def read_all(descriptor: int) -> str:
    return "".join(_chunks(descriptor))


def _chunks(descriptor: int) -> Iterable[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    while True:
        try:
            data = os.read(descriptor, _CHUNK)
        except OSError:
            data = b""  # the terminal was closed
        yield decoder.decode(data, final=not data)
        if not data:
            return


def _split(chunks: Iterable[str]) -> Iterable[str]:
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split("\n")
        yield from (line.removesuffix("\r") for line in whole)
    if rest:
        yield rest


def write(text: str) -> None:
    """Writes to standard output at once: an answer is read while it is written."""
    sys.stdout.write(text)
    sys.stdout.flush()


def remark(text: str) -> None:
    """Something about the chat rather than of it, on standard error."""
    print(text, file=sys.stderr, flush=True)
