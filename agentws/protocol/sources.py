"""Sources: what an answer cites, each as an activity of the conversation.

An activity, and not the metadata of a message: it is kept in the history, in snapshots and on
pages, every AG-UI client receives it, it needs no open message, and a new one restates no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from . import events as e
from .events import AnyEvent

SOURCE: Final = "agentws.source"
"""The ``activityType`` of a source. Its content has ``number``, ``url``, ``title?``, ``excerpt?``.
"""


MOST: Final = 100
"""Sources of a run that a wire of plain text shows: it keeps them until the run ends."""


def source_line(event: AnyEvent) -> str | None:
    """A source as one line of text; ``None`` for any other event."""
    if not isinstance(event, e.ActivitySnapshot) or event.activity_type != SOURCE:
        return None
    return line_of(event.content)


def line_of(content: Mapping[str, Any]) -> str:
    """The content of a source as one line of text."""
    shown = [f"[{content.get('number')}]", content.get("title"), content.get("url")]
    return " ".join(word for one in shown if one for word in str(one).split())
