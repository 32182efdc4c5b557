"""One session as it is known here: its log, its open turns, its unanswered requests.

It is what a connection reports to (see :class:`agentws.client.connection.Owner`); the chat is its
public face.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence

from ..errors import AgentwsError, TooLarge
from ..protocol import events as e
from ..protocol.frames import Accepted, Error, EventFrame, Notice, Welcome
from ..protocol.notices import notices_in
from .connection import Frame
from .errors import ChatClosed
from .log import Log, SnapshotNeeded
from .mailbox import Mailbox
from .outbox import Outbox, Reply, Request
from .transport import Opening, TransportClosed
from .turn import Turn
from .turns import Turns
from .updates import ConnectionChange, ConnectionState, Update

Token = str | Callable[[], str | None | Awaitable[str | None]]


class Follower:
    """Takes in what a server sends and keeps what is to be sent. ``ring``: there is something."""

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
        """What ended the last connection."""
        self.log = Log(after)
        self.turns = Turns()
        self.outbox = Outbox(random=random.random, ring=ring)
        self.caught_up = asyncio.Event()
        self._agent = agent
        self._token = token
        self._watchers: weakref.WeakSet[Mailbox[Update]] = weakref.WeakSet()

    def __repr__(self) -> str:
        return f"<Follower of {self.session} {self.connection}>"

    def watch(self) -> Mailbox[Update]:
        mailbox: Mailbox[Update] = Mailbox()
        self._watchers.add(mailbox)
        return mailbox

    def follow_up(self, turn: Turn, request: Request) -> None:
        """Lets ``turn`` wait for ``request``: a message that was refused has no answer."""
        turn.request = request
        self.turns.add(turn)
        # The reply must not keep alive a turn that nobody holds any more.
        reference = weakref.ref(turn)

        def settled(done: asyncio.Future[Reply]) -> None:
            turn = reference()
            error = None if done.cancelled() else done.exception()
            if turn is not None and isinstance(error, AgentwsError):
                self.turns.remove(turn)
                turn.end(error)

        request.replied.add_done_callback(settled)

    def end(self, error: AgentwsError) -> bool:
        """Tells everything that waits; returns whether anything did."""
        waited = bool(self.turns.open() or self._watchers or len(self.outbox))
        self.outbox.close(error)
        self.changed(ConnectionChange("closed", why=str(error)))
        self.turns.end(error)
        left = isinstance(error, ChatClosed)
        for watcher in tuple(self._watchers):
            watcher.end(None if left else error)
        return waited

    # What the connection asks and tells

    async def opening(self) -> Opening:
        return Opening(self.session, self.log.after, self._agent, await self._ask_token())

    async def _ask_token(self) -> str | None:
        if not callable(self._token):
            return self._token
        try:
            token = self._token()
            return await token if inspect.isawaitable(token) else token
        except Exception as error:
            # At first it is a mistake to be put right. Later it has worked before: whatever it asks
            # is down just now, which must not end a chat that outlives servers.
            if self.welcome is None:
                raise
            why = f"There is no token to be had ({type(error).__name__})."
            raise TransportClosed(1006, why) from error

    def can_renew(self) -> bool:
        return callable(self._token)

    def outgoing(self) -> Iterable[str]:
        return self.outbox.to_send()

    def dropped(self, code: int) -> None:
        self.why = f"The server ended the connection ({code})."
        if code == 1009:
            # Whatever was too big would be too big again.
            self.outbox.fail_sent(TooLarge("The server found this message too big."))
        self.outbox.connection_lost()

    def changed(self, change: ConnectionChange) -> None:
        self.why = change.why or self.why
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
                    self.outbox.answered(frame.reply, frame)
                case Error():
                    if not self.outbox.refused(frame):
                        self._tell(frame)
                case Notice():
                    self._tell(frame)
                    self.outbox.answered(frame.reply, frame)
                    self.turns.noticed(frame)
                case _:
                    pass
        if self.log.caught_up:
            self.caught_up.set()
            if self.turns.settle(self.log):
                self.log.begin_anew()
                raise SnapshotNeeded("A message is older than what is known of the log.")

    def _welcomed(self, frame: Welcome) -> None:
        self.welcome = frame
        self.session = frame.session
        self.outbox.max_message_size = frame.limits.max_message_size
        if (reset := self.log.welcome(frame)) is not None:
            self._begin_anew(reset)

    def _event(self, frame: EventFrame) -> None:
        entry, reset = self.log.take(frame)
        if reset is not None:
            self._begin_anew(reset)
        if entry is None:
            return
        if isinstance(entry.event, e.MessageAccepted):
            self._seen_in_log(entry.event.message.id, entry.position)
        # Watchers first: who waits for a turn may count on what a watcher has done with its end.
        self._tell(entry)
        if isinstance(entry.event, e.MessagesSnapshot) and entry.run is None:
            for notice in notices_in(entry.event):
                # They came long ago, but the log goes on where the snapshot stands.
                self._tell(entry._replace(event=notice.event))
        self.turns.apply(entry)

    def _seen_in_log(self, message: str, position: str) -> None:
        """What is in the log was accepted, though the reply that says so may never come.

        How durably is not known then, so the least is assumed.
        """
        self.outbox.answered(
            message, Accepted(reply=message, position=position, durability="process")
        )

    def _begin_anew(self, reset: Update) -> None:
        self._tell(reset)
        # The new log may lack what the old one had accepted; what it has, it takes only once.
        for turn in self.turns.open():
            if turn.id not in self.outbox:
                self.follow_up(turn, self.outbox.add(turn.id, turn.frame))

    def _tell(self, update: Update) -> None:
        for watcher in tuple(self._watchers):
            watcher.put(update)
