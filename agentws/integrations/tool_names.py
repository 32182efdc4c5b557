"""Makes the ids, names and arguments of tool calls valid for a provider.

A history may contain calls of another provider's model, or of an agent that made its own ids.
Providers refuse the whole request for one invalid id, for an id of two calls, or for arguments
that are not a JSON object.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, Final

import msgspec

from ..protocol.messages import AssistantMessage, Message, Tool
from .answer import unicode

LONGEST_ID: Final = 40
"""OpenAI's limit; Anthropic's is higher."""
LONGEST_NAME: Final = 64

_VALID: Final = re.compile(r"[A-Za-z0-9_-]+")
_INVALID: Final = re.compile(r"[^A-Za-z0-9_-]+")
_HASH: Final = 16


class ToolIds:
    """Maps the ids of the calls in one request to valid and unique ids.

    A valid id is unchanged. Any other is replaced by its valid characters and a hash of it, the
    same in every request, so that a provider's prompt cache stays valid.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        calls = [
            call.id
            for message in messages
            if isinstance(message, AssistantMessage)
            for call in message.tool_calls or ()
        ]
        self._valid = {id for id in calls if _is_valid(id, LONGEST_ID)}
        self._given: set[str] = set()
        self._awaiting: dict[str, deque[str]] = {}
        self._substitutes: dict[str, Iterator[str]] = {}

    def of_call(self, id: str) -> str:
        """The id of the next call in the request; ``id`` is the one in the history."""
        if id in self._valid and id not in self._given:
            given = id
        else:
            # Continues after the last one used: many calls with the same id cost linear time.
            substitutes = self._substitutes.setdefault(id, _substitutes(id))
            given = next(one for one in substitutes if self._is_free(one))
        self._given.add(given)
        self._awaiting.setdefault(id, deque()).append(given)
        return given

    def of_result(self, id: str) -> str:
        """The id of the call of the next result with ``id``: the oldest without a result."""
        return self._awaiting[id].popleft()

    def _is_free(self, id: str) -> bool:
        return id not in self._given and id not in self._valid


def _substitutes(id: str) -> Iterator[str]:
    return (_substitute(id, number, LONGEST_ID) for number in count())


def tool_arguments(text: str) -> dict[str, Any] | None:
    """The arguments of a call; ``None`` if they are not a JSON object, which providers refuse.

    The arguments of a call that was stopped in the middle are incomplete.
    """
    value = json_value(text)
    return value if isinstance(value, dict) else None


def json_value(text: str) -> Any:
    """The value of a JSON ``text``; ``None`` if it is not JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def as_json(value: Any) -> str:
    """A JSON ``value`` as text; lone surrogates, which no text may hold, are replaced."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return unicode(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def described(tool: Tool) -> dict[str, str]:
    """The name and the description of ``tool``; Amazon refuses a description without text."""
    said = {"description": tool.description} if tool.description.strip() else {}
    return {"name": tool_name(tool.name), **said}


def our_names(tools: Sequence[Tool]) -> dict[str, str]:
    """The names of ``tools`` by those that a provider is given."""
    return {tool_name(tool.name): tool.name for tool in tools}


def tool_name(name: str) -> str:
    """``name`` as a valid tool name."""
    if _is_valid(name, LONGEST_NAME):
        return name
    plain = _INVALID.sub("_", name)
    if plain.strip("_") and len(plain) <= LONGEST_NAME:
        return plain
    return _substitute(name, 0, LONGEST_NAME)


def _is_valid(text: str, longest: int) -> bool:
    return len(text) <= longest and _VALID.fullmatch(text) is not None


def _substitute(text: str, number: int, longest: int) -> str:
    digest = hashlib.sha256(f"{number}:{text}".encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
    stem = _INVALID.sub("_", text).strip("_")[: longest - _HASH - 1]
    return f"{stem or 'tool'}_{digest}"
