"""What a terminal or a pipe shows of a chat: answers while they are written, and remarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ..client import ConnectionChange, LogEvent, LogReset, Update
from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.attachments import FILE_ACTIVITY
from ..protocol.frames import Error, Notice
from ..protocol.sources import source_line
from .asking import shown
from .streams import printable, remark, write

PROMPT: Final = "> "
SHOWN: Final = 20
"""How many messages of an earlier conversation are shown when it is continued."""
RESULT: Final = 80
"""How many characters of a tool's result are shown."""

_CHANGED: Final = "the conversation may have changed meanwhile; here it is again"
_GONE: Final = "the server no longer has this conversation; a new one begins"
JOINT: Final = "\n\n"
"""Separates the messages of an answer, as in ``Turn.text``."""

Show = Callable[["Screen", e.Event], None]


class PipedAnswer:
    """Decides what to write of an answer while it arrives, and the rest at its end.

    All that was written is always a beginning of the whole answer, since a pipe can't take anything
    back. Text that arrives out of order, or is replayed after the connection was lost, waits until
    the answer is complete.
    """

    def __init__(self) -> None:
        self._written: list[str] = []
        self._messages: list[str] = []
        self._open: str | None = None
        self._in_order = True

    def __repr__(self) -> str:
        return f"<PipedAnswer of {len(self._messages)} messages>"

    def begin(self, message: str) -> None:
        again = message in self._messages[:-1]
        self._in_order = self._in_order and self._open is None and not again
        self._open = message

    def add(self, message: str, delta: str) -> str:
        """Returns the text to write now."""
        if not self._in_order:
            return ""
        new = message not in self._messages
        text = JOINT + delta if new and self._messages else delta
        if new:
            self._messages.append(message)
        self._written.append(text)
        return text

    def end(self, message: str) -> None:
        self._open = None if message == self._open else self._open

    def replayed(self) -> None:
        """From now on, events may repeat what was written already."""
        self._in_order = False

    def rest(self, whole: str) -> str:
        """The text left to write when the answer is ``whole``.

        Where ``whole`` does not begin with what was written, all of it on a new line.
        """
        written = "".join(self._written)
        self._written = [whole]
        return whole.removeprefix(written) if whole.startswith(written) else f"\n{whole}"


class Screen:
    """Turns updates into text. Answers go to standard output, everything else to standard error.

    A screen that is not ``interactive`` is a pipe: it gets one complete answer and nothing else.
    """

    def __init__(self, *, interactive: bool) -> None:
        self.mine: set[str] = set()
        """Ids of messages that were typed here: they are on the screen already."""
        self._interactive = interactive
        self._mid_line = False
        self._asking = False
        self._at_prompt = False
        self._lost = False
        self._texts: set[str] = set()
        self._piped = None if interactive else PipedAnswer()
        self._ended: set[str | None] = set()
        self._calls: dict[str, str] = {}

    def show(self, update: Update) -> None:
        self._show(update)
        self._ask()

    def _show(self, update: Update) -> None:
        match update:
            case LogEvent():
                handler = _EVENTS.get(type(update.event))
                if handler is not None:
                    handler(self, update.event)
                if isinstance(update.event, e.RunFinished | e.RunError):
                    self._ended.add(update.run)
            case ConnectionChange():
                self._connection(update)
            case LogReset(reason):
                self._texts.clear()
                if self._piped is None:
                    self.note(_GONE if reason in ("lost", "epoch") else _CHANGED)
                else:
                    self._piped.replayed()
            case Notice():
                if update.reply is None:
                    self.note(f"{update.level}: {update.content}")
                elif self._piped is None:
                    self._answer_whole(update.content)
            case Error():
                self.note(f"error: {update.message}")

    def prompt(self) -> None:
        """Asks for the next message, if this is a terminal."""
        self._end_line()
        self._asking = self._interactive
        self._ask()

    def complete(self, answer: str) -> None:
        """The answer is complete. A pipe gets the rest of it, which may have arrived unseen."""
        if self._piped is not None:
            self._write(self._piped.rest(answer))

    def ended(self, run: str | None, how: str) -> None:
        """``run`` failed or was stopped; shows ``how``, unless its last event was shown."""
        if run not in self._ended:
            self.note(how)

    def typed(self) -> None:
        """A line was entered, which ended the line of the prompt."""
        self._asking = self._at_prompt = False

    def note(self, text: str) -> None:
        """Shows a remark on its own line."""
        self._break()
        remark(f"-- {printable(text)}")
        self._ask()

    def leave(self, text: str) -> None:
        """Shows the last remark, without a prompt after it."""
        self._asking = False
        self.note(text)

    def _ask(self) -> None:
        """Writes the prompt, again if other text was written after it."""
        if self._asking and not (self._at_prompt or self._mid_line or self._texts):
            write(PROMPT)
            self._at_prompt = True

    def history(self, messages: Sequence[m.Message]) -> None:
        """Shows the last messages of a conversation that is continued."""
        shown = [line for message in messages if (line := _line(message))]
        if len(shown) > SHOWN:
            self.note(f"{len(shown) - SHOWN} earlier messages")
        for line in shown[-SHOWN:]:
            self._answer_whole(line)

    # Text

    def _write(self, text: str) -> None:
        if not text:
            return
        self._leave_prompt()
        write(printable(text))
        self._mid_line = not text.endswith("\n")

    def _leave_prompt(self) -> None:
        if self._at_prompt:
            write("\n")
            self._at_prompt = False

    def _end_line(self) -> None:
        self._leave_prompt()
        if self._mid_line:
            write("\n")
            self._mid_line = False

    def _break(self) -> None:
        """Begins a new line, except in the answer that a pipe gets."""
        if self._piped is None:
            self._end_line()

    def _answer_whole(self, text: str) -> None:
        self._end_line()
        self._write(text)
        self._end_line()

    # Updates

    def _connection(self, change: ConnectionChange) -> None:
        if change.state == "reconnecting":
            if not self._lost:
                why = f" ({change.why})" if change.why else ""
                self.note(f"connection lost{why}, reconnecting")
            self._lost = True
        elif change.state == "open" and self._lost:
            self._lost = False
            self.note("connected again")

    def _text_start(self, event: e.Event) -> None:
        assert isinstance(event, e.TextMessageStart)
        if event.role in (None, "assistant") and event.subagent_run_id is None:
            self._break()
            self._texts.add(event.message_id)
            if self._piped is not None:
                self._piped.begin(event.message_id)

    def _text(self, event: e.Event) -> None:
        assert isinstance(event, e.TextMessageContent)
        if event.message_id in self._texts:
            piped = self._piped
            self._write(event.delta if piped is None else piped.add(event.message_id, event.delta))

    def _text_end(self, event: e.Event) -> None:
        assert isinstance(event, e.TextMessageEnd)
        self._texts.discard(event.message_id)
        self._break()
        if self._piped is not None:
            self._piped.end(event.message_id)

    def _accepted(self, event: e.Event) -> None:
        assert isinstance(event, e.MessageAccepted)
        if event.message.id not in self.mine:
            self.note(f"from elsewhere: {m.text_of(event.message.content)}")

    def _call(self, event: e.Event) -> None:
        assert isinstance(event, e.ToolCallStart)
        self._calls[event.tool_call_id] = event.tool_call_name
        self.note(f"calls {event.tool_call_name}")

    def _called(self, event: e.Event) -> None:
        assert isinstance(event, e.ToolCallResult)
        name = self._calls.pop(event.tool_call_id, None)
        if name is not None and self._interactive:
            told = m.told_in(event.metadata)
            took = told.get("duration")
            time = f" in {took:.1f} s" if isinstance(took, int | float) else ""
            self.note(f"{name}: {told.get('status', 'done')}{time}, {_in_one_line(event.content)}")

    def _activity(self, event: e.Event) -> None:
        assert isinstance(event, e.ActivitySnapshot)
        if not self._interactive:
            return
        source = source_line(event)
        if source is not None:
            self.note(f"source {source}")
        elif event.activity_type == FILE_ACTIVITY:
            told = event.content
            self.note(f"file {told.get('name')}: {told.get('type')}, {told.get('size')} bytes")

    def _chosen(self, event: e.Event) -> None:
        assert isinstance(event, e.AgentChosen)
        if self._interactive:
            self.note(f"{event.agent} goes on")

    def question(self, asked: m.Interrupt) -> None:
        """Shows a question, and how to answer it."""
        self.note(shown(asked))

    def _finished(self, event: e.Event) -> None:
        assert isinstance(event, e.RunFinished)
        self._break()
        match event.outcome:
            case m.CancelledOutcome():
                self.note("stopped")
            case m.InterruptOutcome(interrupts=asked):
                for one in asked:
                    if self._interactive:
                        self.question(one)
                    else:
                        self.note(f"asks: {one.message or one.reason}")
            case _:
                pass

    def _failed(self, event: e.Event) -> None:
        assert isinstance(event, e.RunError)
        following = e.next_attempt(event)
        if following is None:
            self.note(f"error: {event.message}")
        else:
            if self._piped is not None:
                self._piped.replayed()
            self.note(f"the server lost this answer: attempt {following} follows")

    def _posted(self, event: e.Event) -> None:
        assert isinstance(event, e.NoticePosted)
        self.note(f"{event.level}: {event.content}")

    def _cleared(self, event: e.Event) -> None:
        self.note("the conversation was cleared")

    def _branched(self, event: e.Event) -> None:
        assert isinstance(event, e.HistoryBranched)
        if not event.reload:
            self.note("the conversation goes on from an earlier message")

    def _snapshot(self, event: e.Event) -> None:
        assert isinstance(event, e.MessagesSnapshot)
        self.history(event.messages)


_EVENTS: Final[dict[type[e.Event], Show]] = {
    e.TextMessageStart: Screen._text_start,
    e.TextMessageContent: Screen._text,
    e.TextMessageEnd: Screen._text_end,
    e.MessageAccepted: Screen._accepted,
    e.ToolCallStart: Screen._call,
    e.ToolCallResult: Screen._called,
    e.ActivitySnapshot: Screen._activity,
    e.AgentChosen: Screen._chosen,
    e.RunFinished: Screen._finished,
    e.RunError: Screen._failed,
    e.NoticePosted: Screen._posted,
    e.HistoryCleared: Screen._cleared,
    e.HistoryBranched: Screen._branched,
    e.MessagesSnapshot: Screen._snapshot,
}


def _in_one_line(content: m.Content) -> str:
    text = " ".join(m.text_of(content).split())
    return text if len(text) <= RESULT else f"{text[: RESULT - 3]}..."


def _line(message: m.Message) -> str | None:
    match message:
        case m.UserMessage():
            return PROMPT + m.text_of(message.content)
        case m.AssistantMessage(content=str(text)) if text:
            return text
        case _:
            return None
