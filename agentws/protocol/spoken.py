"""A message of the agent while it is said to a simple client: whole at its end, or part by part.

Which parts are due follows from the text that was said by then and from nothing else. So a client
that comes back to its position is told the parts that follow, however the text is cut into events.
"""

from __future__ import annotations

from typing import Final

import msgspec

from .cutting import reading_border

WHOLE: Final = 1020 * 1024
"""Bytes of an encoded text that is said whole: with what stands around it, one message of 1 MiB."""
PART: Final = 252 * 1024
"""Bytes of one part; with what stands around it, a message of 256 KiB."""
STEP: Final = 64 * 1024
"""Each time so much was said beyond ``WHOLE``, one more part is due: not many at once."""
_SMALL: Final = 4096
"""Pieces of text that are copied together: an object for each would cost more than its text."""


class Spoken:
    """The text that was said and that the client was not told yet, as in an encoded string."""

    __slots__ = ("_chunks", "_left", "_total", "parts")

    def __init__(self) -> None:
        self._chunks: list[memoryview | bytearray] = []
        self._left = 0
        self._total = 0
        self.parts = 0
        """How many were told."""

    def add(self, text: memoryview) -> None:
        """Goes on with ``text``; what is not small is kept where it is, for others hold it, too."""
        self._left += len(text)
        self._total += len(text)
        if len(text) > _SMALL:
            self._chunks.append(text)
        elif self._chunks and isinstance(self._chunks[-1], bytearray):
            self._chunks[-1] += text
        else:
            self._chunks.append(bytearray(text))

    def due(self) -> list[str]:
        """The parts that are to be told now, in the middle of the message; mostly none."""
        if self._total <= WHOLE:
            return []
        texts: list[str] = []
        while self._left > PART and self.parts <= (self._total - WHOLE) // STEP:
            texts.append(self._take())
        return texts

    def rest(self) -> list[str]:
        """What is left at the end of the message: all of it, or its last parts."""
        texts: list[str] = []
        while self._left > (PART if self.parts or self._total > WHOLE else WHOLE):
            texts.append(self._take())
        if self._left:
            texts.append(_decoded(b"".join(self._chunks)))
        return texts

    def _take(self) -> str:
        """The next part, which ends where people pause."""
        size = count = 0
        while size <= PART:
            size += len(self._chunks[count])
            count += 1
        text = b"".join(self._chunks[:count])
        end = reading_border(text, 0, PART)
        self._chunks[:count] = [memoryview(text)[end:]]
        self._left -= end
        self.parts += 1
        return _decoded(text[:end])


def _decoded(text: bytes) -> str:
    return msgspec.json.decode(b'"%b"' % text, type=str)
