"""A server without a network: a log, the opening rules of the native wire, and faults on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from agentws.client import Chat, Opening, Timing, TransportClosed, Turn
from agentws.protocol import events as e
from agentws.protocol import frames as f
from agentws.protocol import messages as m
from agentws.protocol.codec import Record, encode_event, event_frames, extend
from agentws.protocol.fold import Fold
from agentws.protocol.position import GENESIS, Position, parse_position, read_position

FAST = Timing(opening=5.0, answer=0.05, stable=10.0, base=0.001, cap=0.002)
LIMITS = f.FrameLimits(max_message_size=65536, max_queued=10, message_rate=20.0)


class FakeTransport:
    """One connection. ``inbox`` holds what the client will receive, including a close."""

    def __init__(self, server: FakeServer, opening: Opening) -> None:
        self.server = server
        self.opening = opening
        self.inbox: asyncio.Queue[str | bytes | TransportClosed] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.closed = False
        self.half_open = False
        self.delivered = 0
        self.drop_at: int | None = None

    async def send(self, text: str) -> None:
        if self.half_open:
            return
        if self.closed:
            raise TransportClosed()
        frame = json.loads(text)
        self.sent.append(frame)
        self.server.receive(self, frame)

    async def recv(self) -> str | bytes:
        if self.half_open:
            await asyncio.Event().wait()
        message = await self.inbox.get()
        if isinstance(message, TransportClosed):
            self.closed = True
            raise message
        return message

    async def close(self) -> None:
        self.closed = True
        self.server.connections.discard(self)

    # For the server

    def push(self, *frames: bytes | f.ControlFrame) -> None:
        for frame in frames:
            if self.closed:
                return
            data = frame if isinstance(frame, bytes) else f.encode_frame(frame)
            self.inbox.put_nowait(data.decode())
            if self.server.duplicates and data.startswith(b'{"id"'):
                self.inbox.put_nowait(data.decode())
            self.delivered += 1
            if self.drop_at is not None and self.delivered >= self.drop_at:
                self.drop()

    def drop(self, code: int = 1006, reason: str = "") -> None:
        self.server.connections.discard(self)
        self.inbox.put_nowait(TransportClosed(code, reason))
        self.closed = True


Script = Callable[[str], Sequence[e.AnyEvent]]


def echo(text: str) -> Sequence[e.AnyEvent]:
    words: list[e.AnyEvent] = [e.TextMessageStart("msg_of_" + text, role="assistant")]
    words += [
        e.TextMessageContent(message_id="msg_of_" + text, delta=word + " ") for word in text.split()
    ]
    return [*words, e.TextMessageEnd("msg_of_" + text)]


class FakeServer:
    """A server with one session. ``script`` answers every message at once."""

    def __init__(self, script: Script = echo) -> None:
        self.script = script
        self.epoch = "ep1"
        self.records: list[Record] = []
        self.head = Position(self.epoch, 0, GENESIS)
        self.known: dict[str, Position] = {}
        self.session = "ses_fake"
        self.created = False
        self.heartbeat = 30.0
        self.connections: set[FakeTransport] = set()
        self.openings: list[Opening] = []
        self.transports: list[FakeTransport] = []
        self.frames: list[dict[str, Any]] = []
        self.drops: list[int] = []
        self.duplicates = False
        self.answering = True
        self.trimmed = 0
        self.welcome_patch: dict[str, Any] = {}
        self.refuse_opening: Callable[[int], TransportClosed | None] = lambda attempt: None
        self.reply: Callable[[dict[str, Any]], list[f.ControlFrame] | None] = lambda frame: None

    async def open(self, opening: Opening) -> FakeTransport:
        self.openings.append(opening)
        if (closed := self.refuse_opening(len(self.openings))) is not None:
            raise closed
        transport = FakeTransport(self, opening)
        self.transports.append(transport)
        self.connections.add(transport)
        if self.drops:
            transport.drop_at = self.drops.pop(0)
        self.welcome(transport)
        return transport

    def chat(self, **options: Any) -> Chat:
        options.setdefault("timing", FAST)
        return Chat(self.open, **options)

    # The opening

    def welcome(self, transport: FakeTransport) -> None:
        after = transport.opening.after
        resume, reason = self.resume_for(after)
        self.created = True
        frame = {
            "type": "welcome",
            "protocol": "agentws.v1",
            "connection": f"con_{len(self.openings)}",
            "session": self.session,
            "head": str(self.head),
            "resume": resume,
            "reason": reason,
            "agent": "agent",
            "agents": ["agent"],
            "heartbeat": self.heartbeat,
            "limits": json.loads(f.encode_frame(LIMITS)),  # type: ignore[arg-type]
            **self.welcome_patch,
        }
        kept = {name: value for name, value in frame.items() if value is not None}
        transport.push(json.dumps(kept).encode())
        match resume:
            case "replay":
                assert after is not None
                self.replay(transport, parse_position(after).seq)
            case "snapshot":
                self.snapshot(transport)

    def resume_for(self, after: str | None) -> tuple[f.Resume, str | None]:
        if after is None:
            return ("snapshot", "no_position") if self.created else ("new", None)
        position = read_position(after)
        if position is None or not self.created:
            return "snapshot", "lost"
        if position.epoch != self.epoch:
            return "snapshot", "epoch"
        if position.seq < self.trimmed:
            return "snapshot", "trimmed"
        return "replay", None

    def replay(self, transport: FakeTransport, seq: int) -> None:
        for record in self.records:
            if record.seq > seq:
                transport.push(event_frames(self.epoch, [record])[0])

    def snapshot(self, transport: FakeTransport) -> None:
        """A snapshot as of before the active run, in one message; then a replay of that run."""
        base = self.run_base()
        before = [record for record in self.records if record.seq <= base]
        fold = Fold().apply_all(before)
        record = before[-1] if before else Record(0, GENESIS, b"")
        parts: list[e.AnyEvent] = [e.MessagesSnapshot(fold.messages)]
        if fold.state is not None:
            parts.append(e.StateSnapshot(fold.state))
        queue = fold.outline.queue.values()
        parts += [msgspec.structs.replace(one, overlap="queue") for one in queue]
        framed = [
            event_frames(self.epoch, [msgspec.structs.replace(record, data=encode_event(part))])[0]
            for part in parts
        ]
        transport.push(b"[%b]" % b",".join(framed))
        self.replay(transport, base)

    def run_base(self) -> int:
        """The last seq before the active run."""
        fold, base = Fold(), 0
        for record in self.records:
            fold.apply_all([record])
            base = record.seq if fold.outline.run is None else base
        return base

    # The log

    def append(
        self,
        *events: e.AnyEvent,
        run: str | None = None,
        reply: Callable[[Position], None] = lambda position: None,
    ) -> Position:
        """Appends to the log. ``reply`` is called before the events are delivered."""
        records = extend(self.head, [encode_event(event, run=run) for event in events])
        self.records += records
        self.head = Position(self.epoch, records[-1].seq, records[-1].tag)
        reply(self.head)
        for record in records:
            for transport in tuple(self.connections):
                transport.push(event_frames(self.epoch, [record])[0])
        return self.head

    def replace_log(self, epoch: str = "ep2") -> None:
        self.epoch = epoch
        self.records, self.known = [], {}
        self.head = Position(epoch, 0, GENESIS)

    def start(self, id: str, text: str) -> str:
        run = f"run_of_{id}"
        message = m.UserMessage(id, text)
        given = m.RunAgentInput(self.session, run, [message])
        self.append(e.RunStarted(self.session, run, input=given), run=run)
        return run

    def finish(self, run: str, outcome: m.RunOutcome | None = None) -> None:
        self.append(e.RunFinished(self.session, run, outcome=outcome), run=run)

    def answer(self, id: str, text: str) -> None:
        run = self.start(id, text)
        for event in self.script(text):
            self.append(event, run=run)
        self.finish(run)

    # Frames from the client

    def receive(self, transport: FakeTransport, frame: dict[str, Any]) -> None:
        self.frames.append(frame)
        if (replies := self.reply(frame)) is not None:
            transport.push(*replies)
            return
        match frame:
            case {"type": "ping"}:
                transport.push(f.Pong())
            case {"type": "send", "id": str(id)}:
                self.accept(transport, id, frame["content"])
            case {"type": "command", "id": str(id), "name": name}:
                transport.push(f.Accepted(reply=id, position=str(self.head), durability="disk"))
                transport.push(f.Notice(content=f"did {name}", level="info", reply=id))
            case {"id": str(id)}:
                transport.push(f.Accepted(reply=id, position=str(self.head), durability="disk"))

    def accept(self, transport: FakeTransport, id: str, text: str) -> None:
        known = self.known.get(id)
        if known is not None:
            transport.push(
                f.Accepted(reply=id, position=str(known), durability="disk", duplicate=True)
            )
            return

        def reply(at: Position) -> None:
            self.known[id] = at
            transport.push(f.Accepted(reply=id, position=str(at), durability="disk"))

        self.append(e.MessageAccepted(m.UserMessage(id, text), "queue"), reply=reply)
        if self.answering:
            self.answer(id, text)

    def sent(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == kind]


def types(events: Iterable[e.Event]) -> list[str]:
    return [str(event.__struct_config__.tag) for event in events]


def run_types(words: int) -> list[str]:
    """The types of the events of a run that echoes so many words."""
    text = ["TEXT_MESSAGE_START", *["TEXT_MESSAGE_CONTENT"] * words, "TEXT_MESSAGE_END"]
    return ["RUN_STARTED", *text, "RUN_FINISHED"]


async def until(condition: Callable[[], object]) -> None:
    """Returns once the condition is true; raises TimeoutError after 5 seconds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - no event is set when the condition becomes true
            await asyncio.sleep(0.001)


@asynccontextmanager
async def accepted_message(text: str) -> AsyncIterator[tuple[FakeServer, Chat, Turn]]:
    """A server, a chat and a turn: the message is accepted, and no run answers it yet."""
    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        turn = chat.send(text)
        await turn.accepted()
        yield server, chat, turn


async def go_away(server: FakeServer, chat: Any) -> None:
    """Drops the connection and refuses new ones until ``come_back``."""
    server.refuse_opening = lambda attempt: TransportClosed()
    server.transports[-1].drop()
    await until(lambda: chat.connection == "reconnecting")


def come_back(server: FakeServer) -> None:
    server.refuse_opening = lambda attempt: None


async def received(updates: Any, kind: type[Any]) -> Any:
    """The updates of one kind that have been received so far."""
    while True:
        try:
            async with asyncio.timeout(0.2):
                update = await anext(updates)
        except (TimeoutError, StopAsyncIteration):
            return
        if isinstance(update, kind):
            yield update
