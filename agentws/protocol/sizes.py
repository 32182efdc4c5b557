"""How large what a server sends may be, in bytes as it is sent. The protocol page states them."""

from __future__ import annotations

from typing import Final

TEXT: Final = 64 * 1024
"""An event frame with a piece of text: longer text is several events."""
MESSAGE: Final = 64 * 1024
"""Several event frames that leave as one message. One frame alone may be larger.

Servers hold up to three copies of a message, and what was sent before it, for a peer that does not
read: a peer must not cost more for reading many events at once.
"""
PAGE: Final = 152 * 1024
"""The messages of a snapshot or of a page of a conversation, and the notices among them.

Two of the largest messages that clients may send by default fit, a question and its echo.
"""
NOTICES: Final = 32 * 1024
"""The notices of a page that holds but one run, or a part of one."""
QUESTIONS: Final = 64 * 1024
"""The open questions of a session, which a snapshot says beside its messages and notices."""
TITLE: Final = 4 * 1024
"""The title of a session, which a snapshot says as well."""
FRAME: Final = 80
"""What an event frame has at most beside its record: its position."""
EVENT: Final = 256 * 1024
"""An event frame without a piece of text, unless the settings say otherwise."""
