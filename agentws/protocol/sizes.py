"""Size limits of what a server sends, in bytes as sent. ``docs/reference/protocol.md`` has them."""

from __future__ import annotations

from typing import Final

TEXT: Final = 64 * 1024
"""An event frame with a text delta. Longer text becomes several events."""
MESSAGE: Final = 64 * 1024
"""One WebSocket message with several event frames. A single frame may be larger.

For a slow consumer a server holds up to three copies of a message, besides those before it in the
backlog: this limit bounds the memory of a connection that has many events to read.
"""
PAGE: Final = 152 * 1024
"""The messages and notices of a snapshot, or of a page of a conversation.

Two messages of the largest size that clients may send by default fit: a question and its echo.
"""
NOTICES: Final = 32 * 1024
"""The notices of a page that holds only one run, or a part of one."""
ANSWERED: Final = 16 * 1024
"""The answered questions of a page: the newest."""
QUESTIONS: Final = 64 * 1024
"""The open interrupts of a session, which a snapshot contains besides messages and notices."""
TITLE: Final = 4 * 1024
"""The title of a session, which a snapshot contains too."""
FRAME: Final = 80
"""The most bytes that an event frame adds to its record: the position."""
EVENT: Final = 256 * 1024
"""Any other event frame, unless the settings say otherwise."""
