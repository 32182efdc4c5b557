"""How large what a server sends may be, in bytes as it is sent. The protocol page states them."""

from __future__ import annotations

from typing import Final

TEXT: Final = 64 * 1024
"""An event frame with a piece of text: longer text is several events."""
MESSAGE: Final = 128 * 1024
"""Several frames that leave as one message, a page of a conversation, a part of a simple answer.

Half of the largest message of the protocol: a server holds up to three copies of a message for a
peer that does not read. What can't be divided (one event, one tool result) may be larger.
"""
FRAME: Final = 80
"""What an event frame has at most beside its record: its position."""
EVENT: Final = 256 * 1024
"""An event frame without a piece of text, unless the settings say otherwise."""
