"""Any single member of a good stream may be missing or of another type: the rest is still read.

The text of the other events is kept. The answer is complete if its finish reason could be read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from agentws.agents.llm import LLMError
from agentws.agents.rounds import Round
from agentws.protocol.messages import AssistantMessage, TokenUsage, Tool
from agentws.testing.fakellm import FakeLLM, Reply, ToolUse

from .wires import HELLO, WIRES, Event

Path = tuple[str | int, ...]

MISSING = object()
VALUES: list[Any] = [MISSING, None, 5, []]
CHUNKS = ("one ", "two")
REASONS: dict[str, Path] = {
    "openai": ("choices", 0, "finish_reason"),
    "anthropic": ("delta", "stop_reason"),
}


def paths(value: Any, before: Path = ()) -> Iterator[Path]:
    """Where the members of ``value`` stand, at any depth."""
    members = value.items() if isinstance(value, dict) else ()
    for key, member in enumerate(value) if isinstance(value, list) else members:
        yield (*before, key)
        yield from paths(member, (*before, key))


def at(event: Any, path: Path) -> Any:
    """The member at ``path``; None where there is none."""
    for key in path:
        known = key in event if isinstance(event, dict) else isinstance(event, list)
        event = event[key] if known and event else None
    return event


def changed(event: Event, path: Path, value: Any) -> Event:
    event = copy.deepcopy(event)
    holder = at(event, path[:-1])
    if value is MISSING:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return event


class Stream:
    """Answers a request as recorded, except for one member of one event."""

    def __init__(self, **said: Any) -> None:
        self.events: list[Event] = []
        self._said = said
        self.sent: Iterator[Event] | None = None

    def script(self, _: object) -> Reply:
        return Reply(CHUNKS, edit=self._edit, **self._said)

    def _edit(self, event: Event) -> Event:
        if self.sent is not None:
            return next(self.sent)
        self.events.append(event)
        return event

    def variants(self) -> Iterator[tuple[Event, Path, Any]]:
        """Each event with each member as each value; the next answer is sent like that."""
        for index, event in enumerate(self.events):
            for path in paths(event):
                for value in VALUES:
                    sent = list(self.events)
                    sent[index] = changed(event, path, value)
                    self.sent = iter(sent)
                    yield event, path, value


@pytest.mark.parametrize("wire", WIRES)
async def test_any_member_of_a_stream_may_be_missing_or_of_another_type(wire: str) -> None:
    stream, reason = Stream(), REASONS[wire]
    async with FakeLLM(stream.script) as fake, WIRES[wire](fake) as llm:

        async def read_answer() -> tuple[str, bool]:
            text = ""
            try:
                async for piece in llm.stream(HELLO):
                    text += piece if isinstance(piece, str) else ""
            except LLMError:
                return text, False
            return text, True

        assert await read_answer() == ("one two", True)
        for event, path, value in stream.variants():
            text, is_whole = await read_answer()
            lost = [chunk for chunk in CHUNKS if f"'{chunk}'" in str(event)]
            assert text in ("one two", *("one two".replace(chunk, "") for chunk in lost))
            ends = at(event, reason) is not None
            if ends and reason[: len(path)] == path:
                assert not is_whole, (path, value)
            elif not ends or path != ("type",):
                assert is_whole, (path, value)


@pytest.mark.parametrize("wire", WIRES)
async def test_any_member_of_a_call_or_of_reasoning_may_be_missing_or_of_another_type(
    wire: str,
) -> None:
    stream = Stream(reasoning=["Hm"], signature="s", calls=[ToolUse("f", ["{}"])])
    async with FakeLLM(stream.script) as fake, WIRES[wire](fake) as llm:

        async def read_answer() -> Round:
            shown = Round()
            try:
                async for piece in llm.stream(HELLO, tools=[Tool("f", "")]):
                    if not isinstance(piece, TokenUsage):
                        list(shown.add(piece))
            except LLMError:
                pass
            return shown

        await read_answer()
        for event, _, _ in stream.variants():
            said = [
                one for one in (await read_answer()).messages if isinstance(one, AssistantMessage)
            ]
            if all(f"'{chunk}'" not in str(event) for chunk in CHUNKS):
                assert "".join(one.content or "" for one in said) == "one two", event
