"""One round of a chat agent: what a model answers to one request, shown and remembered.

The messages of a round share the beginning of their ids. So an agent that is called again for an
answer finds its rounds in the log (:func:`recorded_round`), and asks the model for none of them
again.
"""

from __future__ import annotations

import math
import secrets
import string
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from ..errors import InvalidEvent
from ..protocol import events as e
from ..protocol import messages as m
from .llm import LLMPiece
from .output import Output

PREFIX: Final = "round_"
"""Begins the id of each message that a chat agent writes."""
_ALPHABET: Final = string.ascii_letters + string.digits
_LENGTH: Final = 9
"""Letters and digits in a name: a call's id is a name, and some providers take only this form."""


class Round:
    """What a model said in one round: its pieces as events, and afterwards as messages.

    The ids of a model are unique within one answer at most, so calls and messages get new ones.
    What a provider must get back, and is larger than ``largest_seal`` bytes, is not in the events:
    the provider gets it back in this run, and not when the agent is called again.
    """

    __slots__ = ("_blocks", "_calls", "_largest_seal", "_name", "_parts", "in_text")

    def __init__(self, *, largest_seal: float = math.inf) -> None:
        self._largest_seal = largest_seal
        self._name = new_name()
        self._parts: list[_Part] = []
        self._blocks: dict[str | None, _Part] = {}
        self._calls: dict[str, _Call] = {}
        self.in_text = False
        """Whether the next text continues a message: then it may be shown as it is."""

    def add(self, piece: LLMPiece) -> Iterator[Output]:
        """Adds a piece, but no usage; returns what shows it."""
        match piece:
            case str():
                yield from self._add_text(piece)
            case e.ToolCallChunk(tool_call_id=str(id)):
                yield from self._add_call(id, piece)
            case e.ReasoningMessageChunk(message_id=id, delta=delta):
                yield from self._add_reasoning(id, delta or "")
            case e.ReasoningEncryptedValue():
                yield from self._seal(piece)
            case _:
                raise InvalidEvent(
                    f"The model yielded {type(piece).__name__}.",
                    expected="text, a ToolCallChunk with an id, reasoning, or a TokenUsage",
                )

    def continue_text(self, text: str) -> None:
        """Adds text that continues a message; the caller shows it."""
        self._parts[-1].text.append(text)

    def end(self) -> Iterator[Output]:
        """Ends what is open: the answer is complete."""
        yield from self._end_reasoning()
        self.in_text = False
        for call in self._calls.values():
            if not call.arguments:
                call.arguments.append("{}")
                yield e.ToolCallArgs(tool_call_id=call.id, delta="{}")
            yield e.ToolCallEnd(call.id)

    @property
    def messages(self) -> list[m.Message]:
        """The messages of the round, as the history will have them."""
        return [part.message() for part in self._parts]

    # The pieces

    def _add_text(self, text: str) -> Iterator[Output]:
        if self.in_text:
            self.continue_text(text)
            yield text
            return
        if self._calls and not text.strip():
            # Some models write line breaks around their calls: they are no message.
            return
        yield from self._end_reasoning()
        part = self._begin("assistant")
        part.text.append(text)
        self.in_text = True
        # A chunk opens the message that the text after it continues.
        yield e.TextMessageChunk(part.id, delta=text)

    def _add_reasoning(self, block: str | None, text: str) -> Iterator[Output]:
        part = self._blocks.get(block)
        if part is None or part is not self._parts[-1]:
            yield from self._end_reasoning()
            part = self._blocks[block] = self._begin("reasoning")
            yield e.ReasoningStart(part.id)
            yield e.ReasoningMessageStart(part.id, "reasoning")
        if text:
            part.text.append(text)
            yield e.ReasoningMessageContent(message_id=part.id, delta=text)

    def _end_reasoning(self) -> Iterator[Output]:
        if self._parts and self._parts[-1].open:
            part = self._parts[-1]
            part.open = False
            yield e.ReasoningMessageEnd(part.id)
            yield e.ReasoningEnd(part.id)

    def _add_call(self, id: str, chunk: e.ToolCallChunk) -> Iterator[Output]:
        call = self._calls.get(id)
        if call is None:
            if not chunk.tool_call_name:
                raise InvalidEvent(
                    "The model yielded arguments of a call that it did not begin.",
                    expected="a ToolCallChunk with toolCallId and toolCallName first",
                )
            yield from self._end_reasoning()
            self.in_text = False
            last = self._parts[-1] if self._parts else None
            part = last if last and last.role == "assistant" else self._begin("assistant")
            call = self._calls[id] = _Call(new_name(), chunk.tool_call_name)
            part.calls.append(call)
            yield e.ToolCallStart(call.id, call.name, part.id)
        if chunk.delta:
            call.arguments.append(chunk.delta)
            yield e.ToolCallArgs(tool_call_id=call.id, delta=chunk.delta)

    def _seal(self, value: e.ReasoningEncryptedValue) -> Iterator[Output]:
        sealed: _Part | _Call | None
        if value.subtype == "tool-call":
            sealed = self._calls.get(value.entity_id)
        else:
            if value.entity_id not in self._blocks:
                yield from self._add_reasoning(value.entity_id, "")
            sealed = self._blocks[value.entity_id]
        if sealed is None:
            return
        sealed.sealed = value.encrypted_value
        if len(msgspec.json.encode(value.encrypted_value)) <= self._largest_seal:
            yield e.ReasoningEncryptedValue(value.subtype, sealed.id, value.encrypted_value)

    def _begin(self, role: str) -> _Part:
        self.in_text = False
        part = _Part(f"{PREFIX}{self._name}_{len(self._parts) + 1}", role)
        self._parts.append(part)
        return part


class _Part:
    """One message of a round, while it grows."""

    __slots__ = ("calls", "id", "open", "role", "sealed", "text")

    def __init__(self, id: str, role: str) -> None:
        self.id = id
        self.role = role
        self.open = role == "reasoning"
        self.text: list[str] = []
        self.calls: list[_Call] = []
        self.sealed: str | None = None

    def message(self) -> m.Message:
        text = "".join(self.text)
        if self.role == "reasoning":
            return m.ReasoningMessage(self.id, text, encrypted_value=self.sealed)
        calls = [call.message() for call in self.calls]
        return m.AssistantMessage(self.id, text or None, calls or None)


class _Call:
    __slots__ = ("arguments", "id", "name", "sealed")

    def __init__(self, id: str, name: str) -> None:
        self.id = id
        self.name = name
        self.arguments: list[str] = []
        self.sealed: str | None = None

    def message(self) -> m.ToolCall:
        function = m.FunctionCall(self.name, "".join(self.arguments))
        return m.ToolCall(self.id, function, self.sealed)


def new_name() -> str:
    """A name that is unique within a session."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def calls_of(messages: Sequence[m.Message]) -> list[m.ToolCall]:
    """The calls in ``messages``, in order."""
    assistants = (one for one in messages if isinstance(one, m.AssistantMessage))
    return [call for one in assistants for call in one.tool_calls or ()]


class Recorded(NamedTuple):
    """One round as the log has it."""

    messages: list[m.Message]
    """Without the results of its calls; empty when there is no such round."""
    steered: list[m.Message]
    """What users said after it, to steer the run."""


def recorded_round(said: list[m.Message]) -> Recorded:
    """Takes the oldest round from what an agent ``said`` before.

    All agents of a run take from the same list, in the order in which they asked their models.
    """
    rounds = [_round_of(one) for one in said]
    name = next((name for name in rounds if name), None)
    if name is None:
        return Recorded([], [])
    last = len(rounds) - 1 - rounds[::-1].index(name)
    until = next((at for at in range(last + 1, len(said)) if rounds[at]), len(said))
    messages = [one for one, of in zip(said, rounds, strict=True) if of == name]
    steered: list[m.Message] = [
        one for one in said[last + 1 : until] if isinstance(one, m.UserMessage)
    ]
    said[:] = [one for one in said if one not in messages and one not in steered]
    return Recorded(messages, steered)


def _round_of(message: m.Message) -> str:
    """The name of the round; empty for a message of no round."""
    return message.id.rpartition("_")[0] if message.id.startswith(PREFIX) else ""
