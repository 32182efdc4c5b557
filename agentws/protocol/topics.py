"""Durable topics: their names, the ids of their logs, and their event frames.

A topic is a log of notices, which many clients follow besides their session. Its id is none that a
client may choose for a session.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ..errors import BadRequest
from .codec import Record, event_frames

MAX_NAME: Final = 100
"""Characters of the name of a topic."""
FRAME: Final = MAX_NAME + 11
"""The most bytes that an event frame of a topic has more than one of a session."""

_PREFIX: Final = "topic:"
_NAME: Final = re.compile(rf"[A-Za-z0-9_.~-]{{1,{MAX_NAME}}}")


def check_topic(name: str) -> str:
    """``name`` itself; raises BadRequest if no topic can have it."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        expected = f"1 to {MAX_NAME} of A-Z a-z 0-9 _ . ~ -"
        raise BadRequest("This is not the name of a topic.", expected=expected)
    return name


def topic_log(name: str) -> str:
    """The id of the log of the topic ``name``."""
    return _PREFIX + name


def is_topic_log(id: str) -> bool:
    """Whether ``id`` is that of a topic's log, which is no session."""
    return id.startswith(_PREFIX)


def topic_of(id: str) -> str:
    """The name of the topic with the log ``id``."""
    return id.removeprefix(_PREFIX)


def topic_frames(topic: str, epoch: str, records: Sequence[Record]) -> list[bytes]:
    """``records`` as event frames with the member ``topic``, which follows ``id``."""
    # A name needs no escapes. A position has none either, so the first comma follows it.
    member = b',"topic":"%b",' % topic.encode()
    return [frame.replace(b",", member, 1) for frame in event_frames(epoch, records)]
