"""The text of one message on the simple wire: sent whole at its end, or in parts if it is long.

Which parts are due follows from the text so far and from nothing else. So a client that comes back
to its position is sent the parts that follow, however the text is cut into events.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ..cutting import word_boundary

WHOLE: Final = 1020 * 1024
"""Bytes of encoded text that are sent whole: with the members around it, one message of 1 MiB."""
PART: Final = 252 * 1024
"""Bytes of one part; with the members around it, one message of 256 KiB."""
STEP: Final = 64 * 1024
"""One more part is due for each ``STEP`` bytes beyond ``WHOLE``: never many parts at once."""
_SMALL: Final = 4096
"""Shorter pieces of text are copied together: an object for each would cost more than its text."""


class LongText:
    """The text that was not sent to the client yet, as in an encoded JSON string."""

    __slots__ = ("_chunks", "_left", "_total", "parts")

    def __init__(self) -> None:
        self._chunks: list[memoryview | bytearray] = []
        self._left = 0
        self._total = 0
        self.parts = 0
        """How many parts were sent."""

    def add(self, text: memoryview) -> None:
        """Appends ``text``. A large piece is not copied: the session's tail holds it as well."""
        self._left += len(text)
        self._total += len(text)
        if len(text) > _SMALL:
            self._chunks.append(text)
        elif self._chunks and isinstance(self._chunks[-1], bytearray):
            self._chunks[-1] += text
        else:
            self._chunks.append(bytearray(text))

    def due(self) -> list[str]:
        """The parts to send now, before the message has ended; usually none."""
        if self._total <= WHOLE:
            return []
        texts: list[str] = []
        while self._left > PART and self.parts <= (self._total - WHOLE) // STEP:
            texts.append(self._next_part())
        return texts

    def rest(self) -> list[str]:
        """What is left at the end of the message: the whole text, or its last parts."""
        texts: list[str] = []
        while self._left > (PART if self.parts or self._total > WHOLE else WHOLE):
            texts.append(self._next_part())
        if self._left:
            texts.append(_decoded(b"".join(self._chunks)))
        return texts

    def _next_part(self) -> str:
        """Removes the next part, which ends at a paragraph, a line or a word where possible."""
        size = count = 0
        while size <= PART:
            size += len(self._chunks[count])
            count += 1
        text = b"".join(self._chunks[:count])
        end = word_boundary(text, 0, PART)
        self._chunks[:count] = [memoryview(text)[end:]]
        self._left -= end
        self.parts += 1
        return _decoded(text[:end])


def _decoded(text: bytes) -> str:
    return msgspec.json.decode(b'"%b"' % text, type=str)
