"""The parts of a streamed answer besides its text: calls of tools, and reasoning."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from typing import Final

from ..agents.llm import LLMError, LLMPiece, LLMUnavailable
from ..protocol.events import ReasoningEncryptedValue, ReasoningMessageChunk, ToolCallChunk
from .answer import Answer, Counts, Endings, Unicode, unicode
from .tool_names import as_json, json_value


class Reading:
    """What was read of one answer. ``tools`` maps the names that the provider was given to ours.

    Without tools, calls are not read: nobody could answer them.
    """

    __slots__ = ("_calls", "_thoughts", "_tools", "answer", "counts")

    def __init__(self, endings: Endings, tools: Mapping[str, str]) -> None:
        self.answer = Answer(endings)
        self.counts = Counts()
        self._tools = tools
        self._calls = _Calls()
        self._thoughts: dict[str, Unicode] = {}

    def add_reasoning(self, block: object, piece: object) -> Iterator[LLMPiece]:
        """A ``piece`` of the reasoning in ``block``; nothing if it is not text."""
        if isinstance(piece, str) and piece:
            id = _block(block)
            if text := self._thoughts.setdefault(id, Unicode()).add(piece):
                yield ReasoningMessageChunk(id, text)

    def add_call(
        self, *, index: object, id: object, name: object, arguments: object, whole: object = None
    ) -> Iterator[LLMPiece]:
        """A piece of a call; its members in any form that servers send.

        ``whole`` are all its arguments: they count if no ``arguments`` follow.
        """
        if not self._tools:
            return
        given = _storable(name)[:_LONGEST_NAME]
        call = self._calls.find(index, id, given, again=bool(arguments or whole))
        if call is None:
            return
        call.whole = whole or call.whole
        if not call.name:
            if not given:
                call.early.append(arguments)
                return
            self.answer.note_call()
            call.name = given
            yield ToolCallChunk(call.id, self._our_name(given))
        for one in (*call.early, arguments):
            text = call.text.add(_as_json(one))
            if text == "{}" and not call.said:
                # Some servers begin with this in any case, and then send the arguments.
                call.whole = {}
            elif text:
                call.whole = None
                call.said.append(text)
                yield ToolCallChunk(call.id, delta=text)
        call.early.clear()

    def _our_name(self, given: str) -> str:
        """The tool that is meant; some servers leave the format of their model around its name."""
        bare = given.partition("<|")[0].strip().removeprefix("functions.")
        return self._tools.get(given) or self._tools.get(bare, given)

    def seal_call(self, index: object, id: object, value: str) -> Iterator[LLMPiece]:
        """``value`` must be sent back with a call that was begun."""
        call = self._calls.find(index, id, "") if self._tools else None
        if call is not None and call.name:
            yield ReasoningEncryptedValue("tool-call", call.id, _storable(value))

    def seal_reasoning(self, block: object, kind: str, value: object) -> Iterator[LLMPiece]:
        """``value``, of a ``kind``, must be sent back with the reasoning in ``block``."""
        if sealed := _storable(value):
            yield ReasoningEncryptedValue("message", _block(block), kind + sealed)

    def rest(self) -> Iterator[LLMPiece]:
        """What was kept back, after the end of the stream."""
        if text := self.answer.flush():
            yield text
        for call in self._calls:
            text = _as_json(call.whole) + call.text.flush()
            if call.name and text:
                yield ToolCallChunk(call.id, delta=text)
        if any(not call.name and any((*call.early, call.whole)) for call in self._calls):
            self.answer.note_lost_call()
        for block, joiner in self._thoughts.items():
            if text := joiner.flush():
                yield ReasoningMessageChunk(block, text)


_LONGEST_NAME: Final = 128
"""Characters of a name that are kept. No tool has a longer one; a model may repeat itself."""


def _block(index: object) -> str:
    return str(index) if isinstance(index, int) else "0"


def _storable(text: object) -> str:
    """``text`` without what can't be stored; empty for anything else."""
    return unicode(text.replace("\x00", "")) if isinstance(text, str) else ""


class _Call:
    __slots__ = ("early", "id", "name", "said", "text", "whole")

    def __init__(self, id: str) -> None:
        self.id = id
        self.name = ""
        """As the provider says it."""
        self.text = Unicode()
        self.early: list[object] = []
        """Arguments that were received before the name."""
        self.said: list[str] = []
        """The pieces of its arguments."""
        self.whole: object = None

    @property
    def is_whole(self) -> bool:
        """Whether all its arguments were received: they are an object."""
        if self.whole is not None:
            return True
        # Most pieces do not end like an object: then nothing is joined and parsed.
        ends = bool(self.said) and self.said[-1].endswith("}")
        return ends and isinstance(json_value("".join(self.said)), dict)


class _Calls:
    """The calls of one answer, by what the pieces of a stream say about which one they belong to.

    The servers of one protocol differ: there are indexes without ids, ids without indexes, the
    index 0 for every call, one id for every call, and a new id with every piece.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[object, _Call] = {}
        self._by_id: dict[str, _Call] = {}

    def __iter__(self) -> Iterator[_Call]:
        return iter(self._calls)

    def find(self, index: object, id: object, name: str, *, again: bool = False) -> _Call | None:
        """The call that a piece belongs to, a new one if need be; ``None`` if it belongs to none.

        A piece begins a call if it has a name, and no known id, or no id and no known index, or a
        known id and a new index, or no id and another name than the call of its index, or the same
        name where that has all its arguments and the piece has some (``again``).
        """
        index = index if isinstance(index, int | str) else None
        id = str(id) if isinstance(id, int | str) and id != "" else None
        known = self._by_id.get(id) if id is not None else None
        if known is not None and not (name and index is not None and index not in self._by_index):
            return known
        known = self._by_index.get(index) if index is not None else None
        if known is not None:
            repeated = id is None and name == known.name and not (again and known.is_whole)
            if not name or not known.name or repeated:
                return known
        if not name and index is None:
            return self._calls[-1] if self._calls else None
        return self._begin(index, id)

    def _begin(self, index: object, id: str | None) -> _Call:
        call = _Call(f"call-{len(self._calls)}")
        self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        if id is not None:
            self._by_id[id] = call
        return call


def _as_json(arguments: object) -> str:
    """Arguments as the text that they should be; some servers send the object itself."""
    if isinstance(arguments, str):
        return arguments
    return as_json(arguments) if isinstance(arguments, dict) else ""


FIRST_PAUSE: Final = 0.5
"""Seconds of backoff at most, with jitter, before the first repetition; twice as many each time."""
LONGEST_WAIT: Final = 60.0
"""Seconds that a provider may ask to wait before a request is repeated."""


class Retries:
    """Whether a request is made again: only before anything of its answer was yielded.

    The SDKs repeat a request that has no response yet. A response that begins well and then holds
    an error, or breaks off, is repeated here.
    """

    __slots__ = ("_left", "_pause", "begun", "shown")

    def __init__(self, most: int) -> None:
        self._left = most
        self._pause = FIRST_PAUSE
        self.begun = False
        """Whether a response has begun."""
        self.shown = False
        """Whether anything of the answer was yielded."""

    async def again(self, error: LLMError | None) -> bool:
        """Whether to ask again after ``error``; returns when it is time to."""
        if not isinstance(error, LLMUnavailable) or self.shown or not self.begun or not self._left:
            return False
        wait = error.retry_after if error.retry_after is not None else self._pause
        if wait > LONGEST_WAIT:
            return False
        self._left -= 1
        self._pause *= 2
        self.begun = False
        await asyncio.sleep(wait * random.uniform(0.5, 1.0) if error.retry_after is None else wait)
        return True
