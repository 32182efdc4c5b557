"""The public face of the Python client: one session, followed and spoken to."""

from __future__ import annotations

import asyncio
import inspect
import random
import uuid
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self

from ..errors import AgentwsError, Internal, TooLarge
from ..protocol.events import JsonPatch, Overlap
from ..protocol.frames import (
    Accepted,
    Answer,
    AnyClientFrame,
    Cancel,
    Command,
    Error,
    EventFrame,
    Notice,
    Send,
    State,
    Welcome,
    Withdraw,
)
from ..protocol.messages import Content, Message, Metadata
from .connection import Connection, Frame, Timing
from .errors import ChatClosed, Disconnected
from .log import Log
from .mailbox import Mailbox
from .outbox import Outbox, Reply
from .transport import Opening, OpenTransport
from .turn import Turn
from .turns import Turns
from .updates import ConnectionChange, ConnectionState, LogEvent, Update

Token = str | Callable[[], str | None | Awaitable[str | None]]
CLOSING: Final = 5.0
"""How long leaving waits for the server to accept what was sent last, in seconds."""


class Chat:
    """A session over connections that come and go.

    Use it as ``async with``: entering waits until what the session holds is here, leaving waits
    until what was sent is accepted. In between it reconnects by itself, resumes where it was, and
    sends again whatever the server has not accepted, without doubling it. When the server refuses
    for good (wrong credentials, not your session), whatever waits on the chat raises that; leaving
    it does when nothing waited.
    """

    def __init__(
        self,
        open_transport: OpenTransport,
        *,
        session: str | None = None,
        after: str | None = None,
        agent: str | None = None,
        token: Token | None = None,
        connect_timeout: float = 10.0,
        timing: Timing | None = None,
    ) -> None:
        """``open_transport`` opens one connection; the rest is as for :func:`connect`."""
        self.session = session
        """The id of the session; the server makes one when none was given."""
        self.welcome: Welcome | None = None
        """What the server said last when a connection opened: agents, limits, identity."""
        self.connection: ConnectionState = "closed"
        self._open_transport = open_transport
        self._agent = agent
        self._token = token
        self._connect_timeout = connect_timeout
        self._timing = timing or Timing()
        self._log = Log(after)
        self._turns = Turns()
        self._watchers: weakref.WeakSet[Mailbox[Update]] = weakref.WeakSet()
        self._outbox = Outbox(random=random.random, ring=self._ring)
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()
        self._why = ""
        self._failure: Exception | None = None
        self._failure_seen = False

    def __repr__(self) -> str:
        return f"<Chat {self.session or '(new session)'} {self.connection}>"

    # Entering and leaving

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise ChatClosed("A chat can be entered once; connect again for another.")
        self._connection = Connection(
            self._open_transport, self, timing=self._timing, random=random.random
        )
        self.changed(ConnectionChange("connecting"))
        self._task = asyncio.create_task(self._run(self._connection), name="agentws chat")
        try:
            async with asyncio.timeout(self._connect_timeout):
                await self._opened.wait()
        except TimeoutError:
            why = self._why or "The server can't be reached."
            await self._stop()
            raise Disconnected(why) from None
        except BaseException:
            await self._stop()
            raise
        if self._failure is not None:
            await self._stop()
            raise self._failure
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None and self._outbox.open:
                await asyncio.wait(self._outbox.open, timeout=CLOSING)
        finally:
            await self._stop()
        if error is None and self._failure is not None and not self._failure_seen:
            raise self._failure

    async def _run(self, connection: Connection) -> None:
        try:
            await connection.run()
        except asyncio.CancelledError:
            self._end(ChatClosed())
            raise
        except AgentwsError as error:
            self._failure = error
            self._end(error)
        except Exception as error:
            self._failure = error
            self._end(Internal(f"The chat failed: {type(error).__name__}."))
        finally:
            self._opened.set()

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _end(self, error: AgentwsError) -> None:
        self._failure_seen = bool(self._turns.open() or self._watchers or len(self._outbox))
        self._outbox.close(error)
        self.changed(ConnectionChange("closed", why=str(error)))
        self._turns.end(error)
        left = isinstance(error, ChatClosed)
        for watcher in tuple(self._watchers):
            watcher.end(None if left else error)

    # What there is to read

    @property
    def messages(self) -> list[Message]:
        """The conversation, as far as it was received; a growing answer has the text so far."""
        return self._log.fold.messages

    @property
    def state(self) -> Any:
        """The state that the agent shares, or ``None``."""
        return self._log.fold.state

    @property
    def position(self) -> str | None:
        """The last position applied: pass it as ``after`` to go on later where this left off."""
        return self._log.after

    @property
    def run(self) -> str | None:
        """The id of the run that is going on."""
        return self._log.fold.outline.run

    def watch(self) -> AsyncIterator[Update]:
        """Everything from now on: events, resets, changes of the connection, notices and errors.

        May be called before entering, to miss nothing. Ends when the chat is left; raises what
        ended it otherwise.
        """
        mailbox: Mailbox[Update] = Mailbox()
        self._watchers.add(mailbox)
        if self._task is not None and self._task.done():
            mailbox.end(self._failure if isinstance(self._failure, AgentwsError) else None)
        return mailbox

    def events(self) -> AsyncIterator[LogEvent]:
        """Every event of the log from now on, whichever run or client it belongs to, once each."""
        return _log_events(self.watch())

    # What there is to say

    def send(
        self,
        content: Content,
        *,
        id: str | None = None,
        overlap: Overlap | None = None,
        agent: str | None = None,
        attachments: Sequence[str] | None = None,
        metadata: Metadata | None = None,
    ) -> Turn:
        """Sends a user message, at once or as soon as there is a connection.

        Iterate over what is returned for the events of its answer. ``id`` makes it idempotent
        beyond this chat: the same id is taken once, however often and from wherever it is sent.
        Raises TooMany when too much is unsent, ChatClosed outside of ``async with``.
        """
        frame = Send(
            id=id or _new_id("msg"),
            content=content,
            overlap=overlap,
            agent=agent,
            attachments=list(attachments) if attachments else None,
            metadata=metadata,
        )
        if (known := self._turns.find(frame.id)) is not None:
            return known
        self._check_open()
        turn = Turn(frame, self._outbox.add(frame.id, frame), self._cancel_turn)
        self._turns.add(turn)
        self._watch_refusal(turn)
        return turn

    async def ask(self, content: Content, **options: Any) -> str:
        """Sends a message and returns the text of the answer; options are those of ``send``.

        Raises what :meth:`Turn.text` raises.
        """
        return await self.send(content, **options).text()

    async def cancel(self) -> None:
        """Stops the run that is going on, or else the message that is about to make one."""
        outline = self._log.fold.outline
        message = next(reversed(outline.queue), None) or self._turns.newest
        if outline.run is None and message is None:
            return
        # Named, so that a stop that comes late never hits the next run.
        frame = (
            Cancel(id=_new_id("req"), run=outline.run)
            if outline.run is not None
            else Cancel(id=_new_id("req"), message=message)
        )
        await self._request(frame)

    async def withdraw(self, message: str) -> None:
        """Takes back a message that waits in the queue."""
        await self._request(Withdraw(id=_new_id("req"), message=message))

    async def answer(
        self,
        interrupt: str,
        payload: Any = None,
        *,
        status: Literal["resolved", "cancelled"] = "resolved",
    ) -> None:
        """Answers a question that a run ended with. Raises AlreadyAnswered when it was too late."""
        await self._request(
            Answer(id=_new_id("req"), interrupt=interrupt, status=status, payload=payload)
        )

    async def command(self, name: str, args: str | None = None) -> str:
        """Runs a command and returns what it says. ``name`` is without the slash.

        Raises Disconnected when the connection was lost before the answer: it may have been run.
        """
        frame = Command(id=_new_id("req"), name=name.removeprefix("/"), args=args)
        reply = await self._request(frame, repeatable=False)
        return reply.content if isinstance(reply, Notice) else ""

    async def patch_state(self, patch: JsonPatch) -> None:
        """Changes the shared state (RFC 6902), where the agent allows it. Raises as ``command``."""
        await self._request(State(id=_new_id("req"), patch=patch), repeatable=False)

    async def _request(self, frame: AnyClientFrame, *, repeatable: bool = True) -> Reply:
        self._check_open()
        assert frame.id is not None
        request = self._outbox.add(frame.id, frame, repeatable=repeatable)
        return await asyncio.shield(request.replied)

    async def _cancel_turn(self, turn: Turn) -> None:
        await self._request(Cancel(id=_new_id("req"), message=turn.id))

    def _check_open(self) -> None:
        if self._failure is not None:
            self._failure_seen = True
            raise self._failure
        if self._task is None or self._task.done():
            raise ChatClosed()

    def _watch_refusal(self, turn: Turn) -> None:
        """A message that was refused has no answer. Holds the turn no longer than that."""
        reference = weakref.ref(turn)

        def settled(done: asyncio.Future[Reply]) -> None:
            turn = reference()
            error = None if done.cancelled() else done.exception()
            if turn is not None and isinstance(error, AgentwsError):
                self._turns.remove(turn)
                turn.end(error)

        turn.request.replied.add_done_callback(settled)

    def _ring(self) -> None:
        if self._connection is not None:
            self._connection.ring()

    # What the connection asks and tells (see connection.Owner)

    async def opening(self) -> Opening:
        token = self._token() if callable(self._token) else self._token
        if inspect.isawaitable(token):
            token = await token
        return Opening(self.session, self._log.after, self._agent, token)

    def can_renew(self) -> bool:
        return callable(self._token)

    def outgoing(self) -> Iterable[str]:
        return self._outbox.to_send()

    def dropped(self, code: int) -> None:
        if code == 1009:
            # Whatever was too big would be too big again.
            self._outbox.fail_sent(TooLarge("The server found this message too big."))
        self._outbox.connection_lost()

    def changed(self, change: ConnectionChange) -> None:
        self._why = change.why or self._why
        if self.connection == "connecting" and change.state == "reconnecting":
            change = change._replace(state="connecting")
        self.connection = change.state
        self._tell(change)

    def received(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            match frame:
                case EventFrame():
                    self._event(frame)
                case Welcome():
                    self._welcomed(frame)
                case Accepted():
                    self._outbox.answered(frame.reply, frame)
                case Error():
                    if not self._outbox.refused(frame):
                        self._tell(frame)
                case Notice():
                    self._outbox.answered(frame.reply, frame)
                    self._turns.noticed(frame)
                    self._tell(frame)
                case _:
                    pass
        if self._log.caught_up:
            self._turns.settle(self._log)
            self._opened.set()

    def _welcomed(self, frame: Welcome) -> None:
        self.welcome = frame
        self.session = frame.session
        self._outbox.max_message_size = frame.limits.max_message_size
        if (reset := self._log.welcome(frame)) is not None:
            self._begin_anew(reset)

    def _event(self, frame: EventFrame) -> None:
        entry, reset = self._log.take(frame)
        if reset is not None:
            self._begin_anew(reset)
        if entry is not None:
            self._turns.apply(entry)
            self._tell(entry)

    def _begin_anew(self, reset: Update) -> None:
        self._tell(reset)
        # The new log may lack what the old one had accepted; what it has, it takes only once.
        for turn in self._turns.open():
            if turn.id not in self._outbox:
                turn.sent_again(self._outbox.add(turn.id, turn.frame))
                self._watch_refusal(turn)

    def _tell(self, update: Update) -> None:
        for watcher in tuple(self._watchers):
            watcher.put(update)


async def _log_events(updates: AsyncIterator[Update]) -> AsyncIterator[LogEvent]:
    async for update in updates:
        if isinstance(update, LogEvent):
            yield update


def _new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"
