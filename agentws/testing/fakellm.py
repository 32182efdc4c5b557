"""A scripted language model for tests and demos: offline, with any fault that a test wants.

:class:`ScriptedLLM` answers in process. :class:`FakeLLM` is a server on a loopback port with
OpenAI's chat completions and Anthropic's messages, to test code with the real SDKs:

    async with FakeLLM([Reply("Hello!"), Reply("Bye", fault="drop")]) as fake:
        llm = OpenAIChat("fake", base_url=fake.openai_url, api_key="x")
        ...
        await fake.settled()
        assert fake.disconnects == 1
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ..agents.llm import (
    BROKE_OFF,
    LLM,
    LLMCutOff,
    LLMEmpty,
    LLMPiece,
    LLMRateLimited,
    LLMRefused,
    LLMUnavailable,
    readable,
    status_error,
)
from ..protocol.events import ToolCallChunk
from ..protocol.messages import (
    AssistantMessage,
    DeveloperMessage,
    Message,
    SystemMessage,
    TokenUsage,
    Tool,
    ToolMessage,
    UserMessage,
)
from .fakewire import WIRES, Wire
from .loopback import serving
from .replies import Fault, Finish, Reply, Script, ToolUse, Turn, echo, words


class _Player:
    def __init__(self, script: Script) -> None:
        self._script = script
        self._asked = 0

    def next(self, turns: Sequence[Turn]) -> Reply:
        if callable(self._script):
            reply = self._script(turns)
        else:
            reply = self._script[min(self._asked, len(self._script) - 1)]
        self._asked += 1
        return Reply(reply) if isinstance(reply, str) else reply


def _tokens(turns: Sequence[Turn]) -> int:
    return sum(len(turn.text.split()) for turn in turns)


class ScriptedLLM(LLM):
    """A script as an :class:`LLM`, without server and SDK.

    Counts like :class:`FakeLLM`, but ``requests`` holds the newest hundred, as turns. Every fault
    but ``stall`` is an ``LLMUnavailable`` (``rate_limit``: an ``LLMRateLimited``).
    """

    def __init__(self, script: Script = echo, *, model: str = "scripted") -> None:
        self.model = model
        self.requests: deque[Sequence[Turn]] = deque(maxlen=100)
        self.completed = 0
        self.disconnects = 0
        self._player = _Player(script)

    async def stream(
        self,
        messages: Sequence[Message],
        *,
        instructions: str | None = None,
        tools: Sequence[Tool] = (),
    ) -> AsyncGenerator[LLMPiece, None]:
        turns = [Turn("system", instructions)] if instructions else []
        turns += [turn for message in messages if (turn := _turn(message))]
        self.requests.append(turns)
        reply = self._player.next(turns)
        if reply.status != 200:
            raise status_error(reply.status, retry_after=reply.headers.get("retry-after"))
        try:
            for piece in reply.sent:
                await anyio.sleep(reply.delay)
                if tools or not isinstance(piece, ToolCallChunk):
                    yield piece
            if reply.fault:
                await _raise_fault(reply.fault)
        except (GeneratorExit, anyio.get_cancelled_exc_class()):
            self.disconnects += 1
            raise
        self.completed += 1
        given, written = _tokens(turns), len(reply.pieces)
        yield TokenUsage("scripted", self.model, given, written, given + written)
        _check_finish(reply, called=bool(tools and reply.calls))


async def _raise_fault(fault: Fault) -> None:
    if fault == "stall":
        await anyio.sleep_forever()
    raise LLMRateLimited if fault == "rate_limit" else LLMUnavailable


def _check_finish(reply: Reply, *, called: bool) -> None:
    """Raises the LLMError that an adapter would raise for such an answer."""
    if not reply.finish:
        raise LLMUnavailable(BROKE_OFF)
    if reply.finish == "refused":
        raise LLMRefused
    if reply.finish != "stop":
        raise LLMCutOff
    if not called and not "".join(reply.chunks).strip():
        raise LLMEmpty


def _turn(message: Message) -> Turn | None:
    match message:
        case UserMessage(content=content):
            return Turn("user", readable(content))
        case ToolMessage(content=content):
            return Turn("tool", readable(content))
        case AssistantMessage(content=text):
            return Turn("assistant", text or "")
        case SystemMessage(content=text) | DeveloperMessage(content=text):
            return Turn("system", text)
        case _:
            return None


class FakeLLM:
    """A model server on a free loopback port; it runs inside ``async with``.

    ``requests`` holds the decoded bodies, in order. ``completed`` counts answers that were sent
    completely, and ``disconnects`` those whose client disconnected before. After ``settled()`` no
    answer is being sent, so both are final.
    """

    def __init__(self, script: Script = echo) -> None:
        self.requests: list[dict[str, Any]] = []
        self.completed = 0
        self.disconnects = 0
        self.url = ""
        self._player = _Player(script)
        self._answers: set[anyio.CancelScope] = set()
        self._changed = anyio.Event()
        self._stack = AsyncExitStack()

    @property
    def openai_url(self) -> str:
        """The ``base_url`` for OpenAI's SDK."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """The ``base_url`` for Anthropic's SDK."""
        return self.url

    async def settled(self) -> None:
        """Returns when no answer is being sent."""
        while self._answers:
            await self._changed.wait()

    async def asked(self, count: int = 1) -> None:
        """Returns when at least ``count`` requests were received."""
        while len(self.requests) < count:
            await self._changed.wait()

    async def __aenter__(self) -> Self:
        app = Starlette(routes=[Route(wire.path, self._endpoint(wire)) for wire in WIRES])
        self.url = await self._stack.enter_async_context(serving(app))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for answer in self._answers:
            answer.cancel()
        await self._stack.__aexit__(kind, error, traceback)

    def _endpoint(self, wire: Wire) -> _Endpoint:
        return _Endpoint(self, wire)

    async def _answer(self, wire: Wire, scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).json()
        reply = self._player.next([Turn(*turn) for turn in wire.turns(body)])
        self.requests.append(body)
        with anyio.CancelScope() as answer:
            self._answers.add(answer)
            self._notify()
            try:
                await self._respond(wire, body, reply, scope, receive, send)
            finally:
                self._answers.discard(answer)
                self._notify()

    async def _respond(
        self,
        wire: Wire,
        body: dict[str, Any],
        reply: Reply,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        if reply.status != 200:
            said = "".join(reply.text) or "Refused by the script."
            refusal = wire.error(reply.status, said)
            response = JSONResponse(refusal, reply.status, headers=dict(reply.headers))
            return await response(scope, receive, send)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, receive, tasks.cancel_scope)
            await self._send_answer(wire, body, reply, send)
            tasks.cancel_scope.cancel()

    async def _watch(self, receive: Receive, answer: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        # The server also reports a disconnect after an answer was sent completely.
        if not answer.cancel_called:
            self.disconnects += 1
            answer.cancel()

    async def _send_answer(
        self, wire: Wire, body: dict[str, Any], reply: Reply, send: Send
    ) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        async for event in self._events(wire, body, reply):
            await send({"type": "http.response.body", "body": event, "more_body": True})
        if reply.fault == "drop":
            # An app that returns without ending its body makes the server drop the connection.
            return
        await send({"type": "http.response.body", "body": b""})
        self.completed += reply.fault is None

    async def _events(self, wire: Wire, body: dict[str, Any], reply: Reply) -> AsyncIterator[bytes]:
        opened: list[str] = []
        for data in wire.begin(body):
            yield _edited(wire, reply, data)
        for piece in reply.sent:
            await anyio.sleep(reply.delay)
            for data in wire.piece(piece, opened):
                yield _edited(wire, reply, data)
        for event in reply.events:
            yield event if isinstance(event, bytes) else wire.event(event)
        match reply.fault:
            case "stall":
                await anyio.sleep_forever()
            case "malformed":
                yield wire.malformed
            case "error":
                yield wire.event(wire.error(529, "Overloaded"), name="error")
            case "rate_limit":
                yield wire.event(wire.error(429, "Too many requests"), name="error")
            case None:
                given = _tokens([Turn(*turn) for turn in wire.turns(body)])
                written = len(reply.pieces)
                for data in wire.end(body, reply.ending, given, written, opened):
                    yield _edited(wire, reply, data)
                yield wire.last

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def _edited(wire: Wire, reply: Reply, data: Mapping[str, Any]) -> bytes:
    edited = data if reply.edit is None else reply.edit(copy.deepcopy(dict(data)))
    return b"" if edited is None else wire.event(edited)


class _Endpoint:
    """An ASGI app: only that gets a disconnect while it sends."""

    def __init__(self, fake: FakeLLM, wire: Wire) -> None:
        self._fake = fake
        self._wire = wire

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._fake._answer(self._wire, scope, receive, send)


__all__ = ["FakeLLM", "Fault", "Finish", "Reply", "Script", "ScriptedLLM", "Turn", "echo"]
__all__ += ["ToolUse", "words"]
