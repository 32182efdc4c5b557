"""A message that was sent, and the run that answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from ..errors import AgentwsError, NotFound
from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.events import AnyEvent
from ..protocol.fold import STATUS_KEY
from ..protocol.frames import Accepted, Edit, Notice, Regenerate, Send
from ..protocol.position import Position, parse_position
from .errors import RunCancelled, RunFailed
from .mailbox import Mailbox
from .outbox import Request

Asking = Send | Edit | Regenerate
"""The frames that a run answers."""
Cancel = Callable[["Turn"], Awaitable[None]]
_SEPARATOR: Final = "\n\n"
_NOT_IN_SNAPSHOT: Final = (
    "This message was accepted before, but the part of the conversation that the server sent does "
    "not hold it: it may be older, withdrawn or cleared."
)


class Turn:
    """An asynchronous iterator over the events of the run that answers one message.

    It yields the events from ``RUN_STARTED`` to the terminal event, each once and in order, also
    when the connection is lost in between. After a long disconnection there are two exceptions:

    * ``RUN_STARTED`` comes again: the run can't be replayed from the client's position, so it
      follows from its beginning. Drop the events before.
    * ``MESSAGES_SNAPSHOT`` ends the turn instead of a terminal event: the run has ended and its
      events were compacted. The snapshot holds the answer.

    ``RUN_STARTED`` also comes again after a ``RUN_ERROR`` that says that another attempt follows,
    since the server lost the node of the run: the answer is written anew. Such a ``RUN_ERROR`` is
    not the end of the turn.

    A message that steered the active run has the rest of that run as its turn, which begins with
    ``message.steered``.

    Keep a reference to the turn: without one it receives nothing, although the message is sent.
    """

    def __init__(self, frame: Asking, request: Request, cancel: Cancel, *, message: str) -> None:
        self.id: Final = message
        """The message's id."""
        self.run: str | None = None
        """The id of the run, once it has started."""
        self.frame: Final = frame
        """What asked for the answer."""
        self.request = request
        self._cancel = cancel
        self._mailbox: Mailbox[AnyEvent] = Mailbox()
        self._texts: dict[str, list[str]] = {}
        self._outcome: e.RunFinished | e.RunError | None = None
        self._error: AgentwsError | None = None
        self._over = asyncio.Event()

    def __repr__(self) -> str:
        state = "over" if self.over else "running" if self.run else "waiting"
        return f"<Turn {self.id} {state}>"

    @property
    def over(self) -> bool:
        """Whether the turn has ended: its run has, or it was refused or withdrawn."""
        return self._over.is_set()

    def __aiter__(self) -> Turn:
        return self

    async def __anext__(self) -> AnyEvent:
        return await self._mailbox.__anext__()

    async def accepted(self) -> Accepted | None:
        """Waits until the message is in the log. Returns its position and its durability.

        Returns ``None`` for a command, after its answer: a command is not in the log. Raises the
        server's refusal.
        """
        reply = await asyncio.shield(self.request.replied)
        return reply if isinstance(reply, Accepted) else None

    async def text(self) -> str:
        """Waits for the end of the run and returns the text of the answer.

        A blank line separates the texts of several messages. Iterating over the turn still yields
        all events. Raises RunFailed, RunCancelled, MessageWithdrawn, or the server's refusal; and
        Disconnected for a command whose answer was lost with the connection: it may have been run.
        """
        await self._over.wait()
        if self._error is not None:
            raise self._error
        match self._outcome:
            case e.RunError() as failed:
                raise RunFailed(failed.message, server_code=failed.code, text=self._text)
            case e.RunFinished(outcome=m.CancelledOutcome()):
                raise RunCancelled(text=self._text)
            case _:
                return self._text

    async def cancel(self) -> None:
        """Stops the answer, also before it has begun. The text so far stays.

        Returns when the server has accepted the request; the terminal event follows. Has no effect
        on a turn that is over.
        """
        if not self.over:
            await self._cancel(self)

    @property
    def _text(self) -> str:
        return _SEPARATOR.join("".join(pieces) for pieces in self._texts.values() if pieces)

    # For the session

    @property
    def accepted_before(self) -> Position | None:
        """The position of the first send of the message, if this one was a duplicate."""
        done = self.request.replied
        if not done.done() or done.cancelled() or done.exception() is not None:
            return None
        match done.result():
            case Accepted(position=position, duplicate=True):
                return parse_position(position)
            case _:
                return None

    def begin(self, run: str, event: e.RunStarted | e.MessageSteered) -> None:
        """A run begins with the message, or has taken it."""
        self.run = run
        self._texts.clear()
        self._mailbox.clear()
        self._mailbox.put_nowait(event)

    def feed(self, event: AnyEvent) -> None:
        """The next event of the run."""
        self._mailbox.put_nowait(event)
        match event:
            case e.TextMessageStart(role=None | "assistant", subagent_run_id=None):
                self._texts.setdefault(event.message_id, [])
            case e.TextMessageContent():
                if (pieces := self._texts.get(event.message_id)) is not None:
                    pieces.append(event.delta)
            case e.RunFinished() | e.RunError() if e.next_attempt(event) is None:
                self._outcome = event
                self.end()
            case _:
                pass

    def end_with_notice(self, notice: Notice) -> None:
        """The message was a command, and ``notice`` is its answer."""
        self._texts = {self.id: [notice.content]}
        self.end()

    def end_with_snapshot(self, messages: Sequence[m.Message]) -> None:
        """The end of the run was missed; ``messages`` is the conversation after it."""
        answer = _answer_to(self.id, messages)
        if answer is None:
            self.end(NotFound(_NOT_IN_SNAPSHOT))
            return
        said = [one for one in answer if isinstance(one, m.AssistantMessage)]
        self._texts = {one.id: [one.content] for one in said if one.content}
        self._mailbox.clear()
        self._mailbox.put_nowait(e.MessagesSnapshot(list(messages)))
        self._outcome = _failure_of(answer)
        self.end()

    def end(self, error: AgentwsError | None = None) -> None:
        """Ends the turn, with the ``error`` that its iterator and :meth:`text` raise."""
        if not self.over:
            self._error = error
            self._mailbox.end(error)
            self._over.set()


def _answer_to(id: str, messages: Sequence[m.Message]) -> list[m.Message] | None:
    """The message and its answer, up to the next user message; ``None`` if it is not there."""
    ids = [message.id for message in messages]
    if id not in ids:
        return None
    first = ids.index(id)
    answer = [messages[first]]
    for message in messages[first + 1 :]:
        if isinstance(message, m.UserMessage):
            break
        if isinstance(message, m.ToolMessage | m.ActivityMessage) or not message.subagent_run_id:
            answer.append(message)
    return answer


def _failure_of(answer: Sequence[m.Message]) -> e.RunFinished | e.RunError | None:
    """The terminal event of a run that did not succeed: its messages carry the status."""
    marks = [(one.metadata or {}).get(STATUS_KEY) for one in answer]
    match next((mark for mark in marks if isinstance(mark, dict) and "status" in mark), None):
        case {"status": "cancelled"}:
            return e.RunFinished("", "", outcome=m.CancelledOutcome())
        case {"status": "error", "message": str(message), **rest}:
            code = rest.get("code")
            return e.RunError(message, code if isinstance(code, str) else None)
        case _:
            return None
