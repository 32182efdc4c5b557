"""What a terminal shows of a chat: answers as they are written, and remarks about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ..client import ConnectionChange, LogEvent, LogReset, Update
from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.frames import Error, Notice
from .answer import Answer
from .lines import printable
from .output import remark, write

PROMPT: Final = "> "
SHOWN: Final = 20
"""Messages of an old conversation that are shown when it goes on."""

_CHANGED: Final = "what was shown may have changed meanwhile; here it is again"
_GONE: Final = "the server no longer has this conversation; it begins anew"

Show = Callable[["Screen", e.Event], None]


class Screen:
    """Turns updates into text. Answers go to standard output, everything else to standard error.

    What is not ``interactive`` is a pipe, which gets one answer, whole, and nothing in between.
    """

    def __init__(self, *, interactive: bool) -> None:
        self.mine: set[str] = set()
        """Messages typed here: they are on the screen already."""
        self._interactive = interactive
        self._mid_line = False
        self._asking = False
        self._at_prompt = False
        self._lost = False
        self._texts: set[str] = set()
        self._piped = None if interactive else Answer()
        self._ended: set[str | None] = set()

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
                    self._piped.told_again()
            case Notice():
                if update.reply is None:
                    self.note(f"{update.level}: {update.content}")
                elif self._piped is None:
                    self._answer_whole(update.content)
            case Error():
                self.note(f"error: {update.message}")

    def prompt(self) -> None:
        """Asks for the next message, where somebody is there to be asked."""
        self._end_line()
        self._asking = self._interactive
        self._ask()

    def complete(self, answer: str) -> None:
        """The answer is over. A pipe gets what it lacks: the end may have come out of sight."""
        if self._piped is not None:
            self._write(self._piped.rest(answer))

    def ended(self, run: str | None, how: str) -> None:
        """``run`` ended badly; says so where its own end was not seen."""
        if run not in self._ended:
            self.note(how)

    def typed(self) -> None:
        """A line was entered, which ended the prompt's."""
        self._asking = self._at_prompt = False

    def note(self, text: str) -> None:
        """A remark on a line of its own."""
        self._break()
        remark(f"-- {printable(text)}")
        self._ask()

    def leave(self, text: str) -> None:
        """The last remark: nothing is asked after it."""
        self._asking = False
        self.note(text)

    def _ask(self) -> None:
        """Writes the prompt, again where something came in between."""
        if self._asking and not (self._at_prompt or self._mid_line or self._texts):
            write(PROMPT)
            self._at_prompt = True

    def history(self, messages: Sequence[m.Message]) -> None:
        """The end of a conversation that goes on here."""
        said = [line for message in messages if (line := _line(message))]
        if len(said) > SHOWN:
            self.note(f"{len(said) - SHOWN} earlier messages")
        for line in said[-SHOWN:]:
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
        """Begins a line, except in the middle of what a pipe gets."""
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
        self.note(f"calls {event.tool_call_name}")

    def _finished(self, event: e.Event) -> None:
        assert isinstance(event, e.RunFinished)
        self._break()
        match event.outcome:
            case m.CancelledOutcome():
                self.note("stopped")
            case m.InterruptOutcome(interrupts=asked):
                for one in asked:
                    self.note(f"asks: {one.message or one.reason}")
            case _:
                pass

    def _failed(self, event: e.Event) -> None:
        assert isinstance(event, e.RunError)
        self.note(f"error: {event.message}")

    def _posted(self, event: e.Event) -> None:
        assert isinstance(event, e.NoticePosted)
        self.note(f"{event.level}: {event.content}")

    def _cleared(self, event: e.Event) -> None:
        self.note("the conversation was cleared")

    def _snapshot(self, event: e.Event) -> None:
        assert isinstance(event, e.MessagesSnapshot)
        self.history(event.messages)


_EVENTS: Final[dict[type[e.Event], Show]] = {
    e.TextMessageStart: Screen._text_start,
    e.TextMessageContent: Screen._text,
    e.TextMessageEnd: Screen._text_end,
    e.MessageAccepted: Screen._accepted,
    e.ToolCallStart: Screen._call,
    e.RunFinished: Screen._finished,
    e.RunError: Screen._failed,
    e.NoticePosted: Screen._posted,
    e.HistoryCleared: Screen._cleared,
    e.MessagesSnapshot: Screen._snapshot,
}


def _line(message: m.Message) -> str | None:
    match message:
        case m.UserMessage():
            return PROMPT + m.text_of(message.content)
        case m.AssistantMessage(content=str(text)) if text:
            return text
        case _:
            return None
