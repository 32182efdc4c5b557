"""A language model for tests and demos: scripted, offline, and as faulty as asked.

:class:`ScriptedLLM` answers in process. :class:`FakeLLM` is a server on a loopback port that speaks
OpenAI's chat completions and Anthropic's messages, so the real SDKs can be tested against it:

    async with FakeLLM([Reply("Hello!"), Reply("Bye", fault="drop")]) as fake:
        llm = OpenAIChat("fake", base_url=fake.openai_url, api_key="x")
        ...
        await fake.settled()
        assert fake.disconnects == 1
"""

from __future__ import annotations

import copy
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

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
    LLMRateLimited,
    LLMRefused,
    LLMUnavailable,
    readable,
    status_error,
)
from ..protocol.messages import (
    AssistantMessage,
    DeveloperMessage,
    Message,
    SystemMessage,
    TokenUsage,
    ToolMessage,
    UserMessage,
)
from .fakewire import WIRES, Wire
from .loopback import serving

Fault = Literal["drop", "truncate", "stall", "malformed", "error", "rate_limit"]
"""What happens in the middle of an answer: the connection breaks; the body ends politely but
early; nothing comes any more; a chunk is not JSON; the provider reports that it is overloaded, or
that there are too many requests."""

Finish = Literal["stop", "length", "refused"]
"""The ends that have a word of their own with each provider."""


def words(text: str) -> list[str]:
    """``text`` in word-sized pieces, none of them empty, that make it up when joined."""
    return re.findall(r"\s*\S+\s*", text) or [text] * bool(text)


@dataclass(frozen=True)
class Reply:
    """One scripted answer: ``text`` in word-sized chunks, ``delay`` seconds before each.

    Text that is given in pieces is sent in these pieces, lone surrogates and all.
    A ``status`` other than 200 refuses the request instead, with ``text`` as the message and
    ``headers`` on the response. A ``fault`` strikes once ``after`` chunks were sent. ``finish`` is
    the reason that a whole answer ends with: one of ``Finish``, or any other value as it is.

    Two more are for :class:`FakeLLM` alone, to send what no specification allows. ``events``, any
    JSON values (or bytes, for what is not even that), are sent after the text. ``edit`` is given
    each other event as the provider would send it, and returns what is sent in its place (None:
    nothing is).
    """

    text: str | Sequence[str] = ""
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
        return words(self.text) if isinstance(self.text, str) else list(self.text)

    @property
    def sent(self) -> list[str]:
        """The chunks that go out before the fault, or all."""
        return self.chunks[: self.after] if self.fault else self.chunks


@dataclass(frozen=True)
class Turn:
    """One message as a script sees it, whatever the wire it came by."""

    role: str
    text: str


Script = Sequence[Reply | str] | Callable[[Sequence[Turn]], Reply | str]
"""Replies in order, the last of them for ever; or a function of the conversation."""


def echo(turns: Sequence[Turn]) -> Reply:
    """The default script: says back what the user said last."""
    said = next((turn.text for turn in reversed(turns) if turn.role == "user"), "nothing")
    return Reply(f"You said: {said}")


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
    """A script as an :class:`LLM`, with no server and no SDK between.

    Counts like :class:`FakeLLM`, but ``requests`` holds the newest hundred, as turns. Every fault
    but ``stall`` is an ``LLMUnavailable`` (``rate_limit`` an ``LLMRateLimited``).
    """

    def __init__(self, script: Script = echo, *, model: str = "scripted") -> None:
        self.model = model
        self.requests: deque[Sequence[Turn]] = deque(maxlen=100)
        self.completed = 0
        self.disconnects = 0
        self._player = _Player(script)

    async def stream(
        self, messages: Sequence[Message], *, instructions: str | None = None
    ) -> AsyncGenerator[str | TokenUsage, None]:
        turns = [Turn("system", instructions)] if instructions else []
        turns += [turn for message in messages if (turn := _turn(message))]
        self.requests.append(turns)
        reply = self._player.next(turns)
        if reply.status != 200:
            raise status_error(reply.status, retry_after=reply.headers.get("retry-after"))
        try:
            for chunk in reply.sent:
                await anyio.sleep(reply.delay)
                yield chunk
            if reply.fault:
                await _strike(reply.fault)
        except (GeneratorExit, anyio.get_cancelled_exc_class()):
            self.disconnects += 1
            raise
        self.completed += 1
        given, written = _tokens(turns), len(reply.chunks)
        yield TokenUsage("scripted", self.model, given, written, given + written)
        _end(reply)


async def _strike(fault: Fault) -> None:
    if fault == "stall":
        await anyio.sleep_forever()
    raise LLMRateLimited if fault == "rate_limit" else LLMUnavailable


def _end(reply: Reply) -> None:
    """Raises what an adapter would of an answer that ends like this."""
    if not reply.finish:
        raise LLMUnavailable(BROKE_OFF)
    if reply.finish == "refused":
        raise LLMRefused
    if reply.finish != "stop":
        raise LLMCutOff
    if not "".join(reply.chunks).strip():
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
    """The server, on a free loopback port for as long as ``async with`` lasts.

    ``requests`` holds the decoded bodies, in order. ``completed`` counts answers that went out
    whole and ``disconnects`` those whose reader left before; after ``settled()`` nothing is under
    way, so the two are final.
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
        """Return when no answer is under way."""
        while self._answers:
            await self._changed.wait()

    async def asked(self, count: int = 1) -> None:
        """Return when at least ``count`` requests have come."""
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
            self._ring()
            try:
                await self._respond(wire, body, reply, scope, receive, send)
            finally:
                self._answers.discard(answer)
                self._ring()

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
            await self._play(wire, body, reply, send)
            tasks.cancel_scope.cancel()

    async def _watch(self, receive: Receive, answer: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        # The server also says this of an answer that has just gone out whole.
        if not answer.cancel_called:
            self.disconnects += 1
            answer.cancel()

    async def _play(self, wire: Wire, body: dict[str, Any], reply: Reply, send: Send) -> None:
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
            # An application that returns without ending its body makes the server hang up.
            return
        await send({"type": "http.response.body", "body": b""})
        self.completed += reply.fault is None

    async def _events(self, wire: Wire, body: dict[str, Any], reply: Reply) -> AsyncIterator[bytes]:
        for data in wire.begin(body):
            yield _edited(wire, reply, data)
        for chunk in reply.sent:
            await anyio.sleep(reply.delay)
            yield _edited(wire, reply, wire.delta(chunk))
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
                for data in wire.end(body, reply.finish, given, len(reply.chunks)):
                    yield _edited(wire, reply, data)
                yield wire.last

    def _ring(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def _edited(wire: Wire, reply: Reply, data: Mapping[str, Any]) -> bytes:
    edited = data if reply.edit is None else reply.edit(copy.deepcopy(dict(data)))
    return b"" if edited is None else wire.event(edited)


class _Endpoint:
    """An ASGI app, which it takes to be told of a disconnect while sending."""

    def __init__(self, fake: FakeLLM, wire: Wire) -> None:
        self._fake = fake
        self._wire = wire

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._fake._answer(self._wire, scope, receive, send)


__all__ = ["FakeLLM", "Fault", "Finish", "Reply", "Script", "ScriptedLLM", "Turn", "echo", "words"]
