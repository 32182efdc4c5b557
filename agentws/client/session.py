"""The session as this client knows it: its log, its open turns, its unanswered requests.

The connection reports to it (see :class:`agentws.client.connection.Owner`). The chat is its public
face.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from ..errors import AgentwsError, TooLarge
from ..protocol import events as e
from ..protocol.frames import (
    Accepted,
    Error,
    EventFrame,
    Notice,
    Presence,
    Subscribed,
    Unsubscribed,
    WatchPresence,
    Welcome,
)
from ..protocol.notices import notices_in
from .connection import Frame
from .errors import ChatClosed, SnapshotNeeded
from .log import Log
from .mailbox import Mailbox
from .open_turns import OpenTurns
from .outbox import Outbox, Reply, Request
from .requests import new_id
from .topics import Topics
from .transport import Opening, TransportClosed
from .turn import Turn
from .updates import ConnectionChange, ConnectionState, Update

Token = str | Callable[[], str | None | Awaitable[str | None]]


class FollowedSession:
    """Applies the frames of the server, and holds the requests to send.

    Calls ``ring`` when there is something to send.
    """

    def __init__(
        self,
        *,
        session: str | None,
        after: str | None,
        agent: str | None,
        token: Token | None,
        ring: Callable[[], None],
    ) -> None:
        self.session = session
        self.welcome: Welcome | None = None
        self.connection: ConnectionState = "closed"
        self.why = ""
        """What ended the last connection, as a sentence."""
        self.log = Log(after)
        self.turns = OpenTurns()
        self.watches_presence = False
        """Whether the application is told who comes and goes."""
        self.outbox = Outbox(random=random.random, ring=ring)
        self.topics = Topics(ring=ring, new_id=partial(new_id, "req"))
        self.caught_up = asyncio.Event()
        self._agent = agent
        self._token = token
        self._watchers: weakref.WeakSet[Mailbox[Update]] = weakref.WeakSet()

    def __repr__(self) -> str:
        return f"<FollowedSession of {self.session} {self.connection}>"

    def watch(self) -> Mailbox[Update]:
        mailbox: Mailbox[Update] = Mailbox()
        self._watchers.add(mailbox)
        return mailbox

    def open_turn(self, turn: Turn, request: Request) -> None:
        """Opens ``turn``, whose message ``request`` sends. A refusal of the request ends it."""
        turn.request = request
        self.turns.add(turn)
        # Weak, so that the request does not keep alive a turn that the application has dropped.
        reference = weakref.ref(turn)

        def replied(done: asyncio.Future[Reply]) -> None:
            turn = reference()
            error = None if done.cancelled() else done.exception()
            if turn is not None and isinstance(error, AgentwsError):
                self.turns.remove(turn)
                turn.end(error)

        request.replied.add_done_callback(replied)

    def end(self, error: AgentwsError) -> bool:
        """Ends everything that waits with ``error``. Returns whether anything waited."""
        waited = bool(self.turns.open() or self._watchers or len(self.outbox))
        waited = self.topics.end(error) or waited
        self.outbox.close(error)
        self.changed(ConnectionChange("closed", why=str(error)))
        self.turns.end(error)
        left = isinstance(error, ChatClosed)
        for watcher in tuple(self._watchers):
            watcher.end(None if left else error)
        return waited

    # For the connection (see connection.Owner)

    async def opening(self) -> Opening:
        return Opening(self.session, self.log.after, self._agent, await self.token())

    async def token(self) -> str | None:
        """A valid token; raises TransportClosed if there is none at the moment."""
        if not callable(self._token):
            return self._token
        try:
            token = self._token()
            return await token if inspect.isawaitable(token) else token
        except Exception as error:
            # Before the first connection it is probably a mistake of the application. Later it has
            # worked before, so a service that it calls is down, and a retry may succeed.
            if self.welcome is None:
                raise
            why = f"The token callable failed ({type(error).__name__})."
            raise TransportClosed(1006, why) from error

    def can_renew_token(self) -> bool:
        return callable(self._token)

    def outgoing(self) -> Iterable[str]:
        yield from self.outbox.unsent()
        yield from self.topics.unsent()

    def dropped(self, code: int) -> None:
        self.why = f"The server ended the connection ({code})."
        if code == 1009:
            # A resend would be too large again.
            self.outbox.fail_sent(TooLarge("This message is too large for the server or a proxy."))
        self.outbox.connection_lost()
        self.topics.connection_lost()

    def changed(self, change: ConnectionChange) -> None:
        self.why = change.why or self.why
        if self.connection == "connecting" and change.state == "reconnecting":
            change = change._replace(state="connecting")
        self.connection = change.state
        self._publish(change)

    def received(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            match frame:
                case EventFrame(topic=None):
                    self._apply(frame)
                case EventFrame():
                    self.topics.received(frame)
                case Welcome():
                    self._welcomed(frame)
                case Accepted():
                    self.outbox.answered(frame.reply, frame)
                case Subscribed():
                    self.topics.subscribed(frame)
                case Presence():
                    self._publish(frame)
                    self.outbox.answered(frame.reply, frame)
                case Unsubscribed():
                    self.outbox.answered(frame.reply, frame)
                case Error():
                    if not (self.outbox.refused(frame) or self.topics.refused(frame)):
                        self._publish(frame)
                case Notice():
                    self.topics.noticed(frame)
                    self._publish(frame)
                    self.outbox.answered(frame.reply, frame)
                    self.turns.end_with_notice(frame)
                case _:
                    pass
        if self.log.caught_up:
            self.caught_up.set()
            if self.turns.end_missed(self.log):
                self.log.require_snapshot()
                raise SnapshotNeeded("A message is older than the part of the log that is here.")

    def _welcomed(self, frame: Welcome) -> None:
        self.welcome = frame
        self.session = frame.session
        self.outbox.max_message_size = frame.limits.max_message_size
        if (reset := self.log.welcome(frame)) is not None:
            self._restart(reset)
        if self.watches_presence:
            # The server has forgotten it with the connection.
            id = new_id("req")
            self.outbox.add(id, WatchPresence(id=id, watch=True))

    def _apply(self, frame: EventFrame) -> None:
        entry, reset = self.log.apply(frame)
        if reset is not None:
            self._restart(reset)
        if entry is None:
            return
        if isinstance(entry.event, e.MessageAccepted):
            self._accepted_in_log(entry.event.message.id, entry.position)
        # Watchers first: code that waits for a turn may rely on what a watcher did at its end.
        self._publish(entry)
        if isinstance(entry.event, e.MessagesSnapshot) and entry.run is None:
            for notice in notices_in(entry.event):
                # The notices are older, but the position to resume at is that of the snapshot.
                self._publish(entry._replace(event=notice.event))
        self.turns.apply(entry)
        if isinstance(entry.event, e.HistoryBranched) and entry.event.reload:
            self.log.require_snapshot()
            raise SnapshotNeeded("Another branch of the conversation came into view.")

    def _accepted_in_log(self, message: str, position: str) -> None:
        """A message in the log was accepted, even if its ``accepted`` frame was lost.

        Its durability is not known then, so the lowest is assumed.
        """
        self.outbox.answered(
            message, Accepted(reply=message, position=position, durability="process")
        )

    def _restart(self, reset: Update) -> None:
        self._publish(reset)
        # The new log may lack messages that the old one had accepted, so resend them. Their ids are
        # idempotency keys: the server deduplicates what it has.
        for turn in self.turns.open():
            id = turn.request.id
            if id not in self.outbox:
                self.open_turn(turn, self.outbox.add(id, turn.frame))

    def _publish(self, update: Update) -> None:
        for watcher in tuple(self._watchers):
            watcher.put_nowait(update)
