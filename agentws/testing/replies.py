"""What a scripted model says: replies, calls of tools, and what goes wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..agents.llm import LLMPiece
from ..protocol.events import ReasoningEncryptedValue, ReasoningMessageChunk, ToolCallChunk

Fault = Literal["drop", "truncate", "stall", "malformed", "error", "rate_limit"]
"""What happens in the middle of an answer.

``drop``: the connection breaks. ``truncate``: the body ends early, without an error. ``stall``:
nothing more is sent. ``malformed``: a chunk is not JSON. ``error``, ``rate_limit``: the provider
reports that it is overloaded, or the rate limit.
"""

Finish = Literal["stop", "length", "refused"]
"""The finish reasons that each provider has its own word for."""


def words(text: str) -> list[str]:
    """``text`` in word-sized pieces. None is empty; joined, they are ``text``."""
    return re.findall(r"\s*\S+\s*", text) or [text] * bool(text)


@dataclass(frozen=True)
class ToolUse:
    """A scripted call of the tool ``name``.

    ``arguments`` are an object, streamed in fragments, or a list of strings: exactly these
    fragments, whatever they are. ``id`` is the provider's for the call; absent: a new one.
    """

    name: str
    arguments: Mapping[str, Any] | Sequence[str] = field(default_factory=dict)
    id: str | None = field(default=None, kw_only=True)

    @property
    def fragments(self) -> list[str]:
        """The pieces in which the arguments are streamed."""
        if not isinstance(self.arguments, Mapping):
            return list(self.arguments)
        text = json.dumps(self.arguments)
        return [text[at : at + _FRAGMENT] for at in range(0, len(text), _FRAGMENT)]


_FRAGMENT = 7


@dataclass(frozen=True)
class Reply:
    """One scripted answer: ``text`` in word-sized chunks, ``delay`` seconds before each.

    A list of strings is sent in exactly these chunks, lone surrogates included. Before the text
    comes its ``reasoning``, in the same way, with ``signature`` at its end; after the text come its
    ``calls``, each in several pieces.

    A ``status`` other than 200 refuses the request instead, with ``text`` as the message and
    ``headers`` on the response. A ``fault`` happens after ``after`` pieces. ``finish`` is the
    finish reason of a complete answer: one of ``Finish``; any other value is sent unchanged.

    Two options are for :class:`FakeLLM` only, to send what no specification allows. ``events``,
    any JSON values (or bytes, for invalid JSON), are sent after the text. ``edit`` gets each other
    event as the provider would send it, and returns what to send instead (``None``: nothing).
    """

    text: str | Sequence[str] = ""
    reasoning: str | Sequence[str] = field(default="", kw_only=True)
    signature: str = field(default="", kw_only=True)
    calls: Sequence[ToolUse] = field(default=(), kw_only=True)
    delay: float = field(default=0.0, kw_only=True)
    status: int = field(default=200, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    fault: Fault | None = field(default=None, kw_only=True)
    after: int = field(default=1, kw_only=True)
    finish: Any = field(default="stop", kw_only=True)
    events: Sequence[Any] = field(default=(), kw_only=True)
    edit: Callable[[dict[str, Any]], Any] | None = field(default=None, kw_only=True)

    @property
    def chunks(self) -> list[str]:
        """The pieces of its text."""
        return _split(self.text)

    @property
    def pieces(self) -> list[LLMPiece]:
        """Everything that it says, in order, as a model yields it."""
        thoughts: list[LLMPiece] = [
            ReasoningMessageChunk("0", delta) for delta in _split(self.reasoning)
        ]
        if self.signature:
            thoughts.append(ReasoningEncryptedValue("message", "0", self.signature))
        return [*thoughts, *self.chunks, *_called(self.calls)]

    @property
    def sent(self) -> list[LLMPiece]:
        """The pieces that are sent: those before the fault, or all."""
        return self.pieces[: self.after] if self.fault else self.pieces

    @property
    def ending(self) -> Any:
        """The finish reason; ``calls`` for a complete answer with calls."""
        return "calls" if self.calls and self.finish == "stop" else self.finish


def _split(text: str | Sequence[str]) -> list[str]:
    return words(text) if isinstance(text, str) else list(text)


def _called(calls: Sequence[ToolUse]) -> Iterator[LLMPiece]:
    for number, call in enumerate(calls):
        id = call.id or f"call-{number}"
        yield ToolCallChunk(id, call.name)
        yield from (ToolCallChunk(id, delta=fragment) for fragment in call.fragments)


@dataclass(frozen=True)
class Turn:
    """One message of a request as a script sees it, the same for every provider."""

    role: str
    text: str


Script = Sequence[Reply | str] | Callable[[Sequence[Turn]], Reply | str]
"""Replies in order, the last one repeated; or a function of the conversation."""


def echo(turns: Sequence[Turn]) -> Reply:
    """The default script: repeats the user's last message."""
    said = next((turn.text for turn in reversed(turns) if turn.role == "user"), "nothing")
    return Reply(f"You said: {said}")
