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
from ..protocol.frames import Accepted, Notice, Send
from ..protocol.position import Position, parse_position
from .errors import RunCancelled, RunFailed
from .mailbox import Mailbox
from .outbox import Request

Cancel = Callable[["Turn"], Awaitable[None]]
_JOINT: Final = "\n\n"
_NOT_HERE: Final = (
    "This message was accepted before. What came of it is not in the part of the conversation that "
    "is known here: it may be older, taken back or cleared."
)


class Turn:
    """An asynchronous iterator over the events of the run that answers one message.

    From ``RUN_STARTED`` to the terminal event, each once and in order, however often the connection
    is lost meanwhile. Two things can happen to a client that was away for long:

    * ``RUN_STARTED`` comes again: the run could not be continued from where it was left and follows
      from its beginning. Drop what the turn gave before.
    * ``MESSAGES_SNAPSHOT`` ends the turn instead of a terminal event: the run ended meanwhile and
      its events are gone; the conversation holds its answer.

    A turn that nobody keeps a reference to receives nothing; the message is sent all the same.
    """

    def __init__(self, frame: Send, request: Request, cancel: Cancel) -> None:
        self.id: Final = frame.id
        """The message's id."""
        self.run: str | None = None
        """The id of the run, once it has started."""
        self.frame: Final = frame
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
        return self._over.is_set()

    def __aiter__(self) -> Turn:
        return self

    async def __anext__(self) -> AnyEvent:
        return await self._mailbox.__anext__()

    async def accepted(self) -> Accepted | None:
        """Waits until the message is in the log and says where and how durably.

        ``None`` for a command, once it is answered: it is not logged, so it has no place. Raises
        what the server refused it with.
        """
        reply = await asyncio.shield(self.request.replied)
        return reply if isinstance(reply, Accepted) else None

    async def text(self) -> str:
        """The text of the answer, once it is complete; several messages are parted by a blank line.

        Raises RunFailed, RunCancelled, MessageWithdrawn, or what the server refused the message
        with; Disconnected for a command whose answer was lost with the connection: it may have been
        run. Takes no events away from who iterates.
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
        """Stops the answer, also before it has begun. What was said by then stays.

        Returns once the server has taken note; the terminal event follows. Without effect on a
        turn that is over.
        """
        if not self.over:
            await self._cancel(self)

    @property
    def _text(self) -> str:
        return _JOINT.join("".join(pieces) for pieces in self._texts.values() if pieces)

    # What the chat tells a turn

    @property
    def accepted_before(self) -> Position | None:
        """Where an earlier send of the message was accepted, when the last one was a duplicate."""
        done = self.request.replied
        if not done.done() or done.cancelled() or done.exception() is not None:
            return None
        match done.result():
            case Accepted(position=position, duplicate=True):
                return parse_position(position)
            case _:
                return None

    def begin(self, event: e.RunStarted) -> None:
        self.run = event.run_id
        self._texts.clear()
        self._mailbox.clear()
        self._mailbox.put(event)

    def feed(self, event: AnyEvent) -> None:
        self._mailbox.put(event)
        match event:
            case e.TextMessageStart(role=None | "assistant", subagent_run_id=None):
                self._texts.setdefault(event.message_id, [])
            case e.TextMessageContent():
                if (pieces := self._texts.get(event.message_id)) is not None:
                    pieces.append(event.delta)
            case e.RunFinished() | e.RunError():
                self._outcome = event
                self.end()
            case _:
                pass

    def end_with_notice(self, notice: Notice) -> None:
        """It was a command; its output is the answer."""
        self._texts = {self.id: [notice.content]}
        self.end()

    def end_with_snapshot(self, messages: Sequence[m.Message]) -> None:
        """Its run ended out of sight: ``messages`` is the conversation it left."""
        answer = _answer_to(self.id, messages)
        if answer is None:
            self.end(NotFound(_NOT_HERE))
            return
        said = [one for one in answer if isinstance(one, m.AssistantMessage)]
        self._texts = {one.id: [one.content] for one in said if one.content}
        self._mailbox.clear()
        self._mailbox.put(e.MessagesSnapshot(list(messages)))
        self._outcome = _bad_end(answer)
        self.end()

    def end(self, error: AgentwsError | None = None) -> None:
        if not self.over:
            self._error = error
            self._mailbox.end(error)
            self._over.set()


def _answer_to(id: str, messages: Sequence[m.Message]) -> list[m.Message] | None:
    """That message and what came of it, up to the user's next; ``None`` without it."""
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


def _bad_end(answer: Sequence[m.Message]) -> e.RunFinished | e.RunError | None:
    """How the run of ``answer`` ended, where its messages are marked with anything but success."""
    marks = [(one.metadata or {}).get(STATUS_KEY) for one in answer]
    match next((mark for mark in marks if isinstance(mark, dict) and "status" in mark), None):
        case {"status": "cancelled"}:
            return e.RunFinished("", "", outcome=m.CancelledOutcome())
        case {"status": "error", "message": str(message), **rest}:
            code = rest.get("code")
            return e.RunError(message, code if isinstance(code, str) else None)
        case _:
            return None
