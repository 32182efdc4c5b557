"""Ids, names and arguments of tools, as a provider takes them.

A history may hold the calls of another provider's model, or of an agent that made its ids itself.
Providers refuse a whole request for one id that does not fit, or that stands for two calls, and
for arguments that are no JSON object.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, Final

import msgspec

from ..protocol.messages import AssistantMessage, Message

LONGEST_ID: Final = 40
"""What OpenAI takes; Anthropic takes more."""
LONGEST_NAME: Final = 64

_FITS: Final = re.compile(r"[A-Za-z0-9_-]+")
_UNFIT: Final = re.compile(r"[^A-Za-z0-9_-]+")
_HASH: Final = 16


class ToolIds:
    """The ids of the calls in one request, each call with one of its own.

    An id that fits stays as it is. Any other becomes what can be kept of it and a hash of it, which
    is the same in every request, so that a provider's cache of the conversation stays good.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        calls = [
            call.id
            for message in messages
            if isinstance(message, AssistantMessage)
            for call in message.tool_calls or ()
        ]
        self._fit = {id for id in calls if _fits(id, LONGEST_ID)}
        self._given: set[str] = set()
        self._awaiting: dict[str, deque[str]] = {}
        self._substitutes: dict[str, Iterator[str]] = {}

    def of_call(self, id: str) -> str:
        """The id to give the next call; ``id`` is what the history says."""
        if id in self._fit and id not in self._given:
            given = id
        else:
            # Goes on after the last that was taken, so that many calls may share an id.
            substitutes = self._substitutes.setdefault(id, _substitutes(id))
            given = next(one for one in substitutes if self._is_free(one))
        self._given.add(given)
        self._awaiting.setdefault(id, deque()).append(given)
        return given

    def of_result(self, id: str) -> str:
        """The id of the call that the next result with ``id`` answers: the oldest without one."""
        return self._awaiting[id].popleft()

    def _is_free(self, id: str) -> bool:
        return id not in self._given and id not in self._fit


def _substitutes(id: str) -> Iterator[str]:
    return (_substitute(id, number, LONGEST_ID) for number in count())


def tool_arguments(text: str) -> dict[str, Any] | None:
    """The arguments of a call, an object; None for what is not that, which providers refuse.

    A call that was stopped while it was being written has the beginning of some.
    """
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def tool_name(name: str) -> str:
    """``name`` as providers take the name of a tool."""
    if _fits(name, LONGEST_NAME):
        return name
    plain = _UNFIT.sub("_", name)
    if plain.strip("_") and len(plain) <= LONGEST_NAME:
        return plain
    return _substitute(name, 0, LONGEST_NAME)


def _fits(text: str, longest: int) -> bool:
    return len(text) <= longest and _FITS.fullmatch(text) is not None


def _substitute(text: str, number: int, longest: int) -> str:
    digest = hashlib.sha256(f"{number}:{text}".encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
    stem = _UNFIT.sub("_", text).strip("_")[: longest - _HASH - 1]
    return f"{stem or 'tool'}_{digest}"
