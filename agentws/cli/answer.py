"""An answer on its way into a pipe: what is written is always a beginning of the whole."""

from __future__ import annotations

from typing import Final

JOINT: Final = "\n\n"
"""What parts the messages of an answer, in ``Turn.text`` too."""


class Answer:
    """Says what to write of an answer while it comes, and what is left of it in the end.

    A pipe can't take anything back. What comes out of order, or is told again after the connection
    was lost, waits until the answer is whole.
    """

    def __init__(self) -> None:
        self._written: list[str] = []
        self._messages: list[str] = []
        self._open: str | None = None
        self._in_order = True

    def __repr__(self) -> str:
        return f"<Answer of {len(self._messages)} messages>"

    def begin(self, message: str) -> None:
        again = message in self._messages[:-1]
        self._in_order = self._in_order and self._open is None and not again
        self._open = message

    def add(self, message: str, delta: str) -> str:
        """What to write now."""
        if not self._in_order:
            return ""
        new = message not in self._messages
        text = JOINT + delta if new and self._messages else delta
        if new:
            self._messages.append(message)
        self._written.append(text)
        return text

    def end(self, message: str) -> None:
        self._open = None if message == self._open else self._open

    def told_again(self) -> None:
        """What comes now may be what was written already."""
        self._in_order = False

    def rest(self, whole: str) -> str:
        """What is left to write when the answer is ``whole``.

        Where that is not how it began, a line of its own with all of it.
        """
        written = "".join(self._written)
        self._written = [whole]
        return whole.removeprefix(written) if whole.startswith(written) else f"\n{whole}"
