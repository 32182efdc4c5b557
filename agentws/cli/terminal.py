"""A chat at a terminal or in a pipe: one message after another, with files and answers."""

from __future__ import annotations

import asyncio
import signal
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..agents.commands import parse_command, unescape
from ..client import Chat, LogEvent, RunCancelled, RunFailed, Turn, Update
from ..errors import AgentwsError, AlreadyAnswered
from ..protocol.bodies import FileView
from ..protocol.events import Event, RunError, RunFinished
from ..protocol.messages import Interrupt, InterruptOutcome
from ..protocol.spoken import Spoken
from .asking import SKIP, Questions, answer_to
from .forms import Form
from .problem import FAILED, INTERRUPTED
from .screen import Screen

ATTACH: Final = "/attach"
"""What a user types before the path of a file to send."""


class Terminal:
    """Sends one message after another, each after the answer to the one before."""

    def __init__(self, chat: Chat, lines: AsyncIterator[str], *, interactive: bool = True) -> None:
        self._chat = chat
        self._lines = lines
        self._interactive = interactive
        self._screen = Screen(interactive=interactive)
        self._turn: Turn | None = None
        self._talking: asyncio.Task[int] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._interrupted_before = False
        self._left = False
        self._questions = Questions()
        self._resuming = False
        self._attached: list[FileView] = []

    async def run(self) -> int:
        updates = self._chat.watch()
        async with self._chat:
            if self._interactive:
                self._greet()
            # The updates so far are shown first, and the prompt below them.
            showing = asyncio.create_task(self._show(updates))
            self._talking = asyncio.create_task(self._talk())
            with _on_interrupt(self._interrupt):
                try:
                    await asyncio.wait({self._talking, showing}, return_when=FIRST_COMPLETED)
                finally:
                    status = await self._end_tasks(self._talking, showing)
        if self._interactive:
            self._screen.leave(f"continue later with --session {self._chat.session}")
        return status

    async def _end_tasks(self, talking: asyncio.Task[int], showing: asyncio.Task[None]) -> int:
        """Ends the tasks that still run; raises the error that ended the chat."""
        tasks = {talking, showing} | ({self._stopping} if self._stopping else set())
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if not showing.cancelled():
            showing.result()
        return INTERRUPTED if self._left or talking.cancelled() else talking.result()

    def _greet(self) -> None:
        welcome = self._chat.welcome
        agent = welcome.agent if welcome else "the agent"
        self._screen.note(f"connected to {agent}; Ctrl-C stops the answer, Ctrl-D quits")
        if welcome is not None and welcome.limits.max_file_size:
            self._screen.note(f"{ATTACH} PATH sends a file with the next message")

    async def _show(self, updates: AsyncIterator[Update]) -> None:
        async for update in updates:
            # A pipe gets only the answer to its message, not what others do in the session.
            of_others = isinstance(update, LogEvent) and not self._is_mine(update)
            if self._interactive or not of_others:
                self._screen.show(update)
            if isinstance(update, LogEvent):
                self._follow(update.event)

    def _follow(self, event: Event) -> None:
        """Keeps the questions that a run ends with; asks for the next line after a resumed run."""
        if isinstance(event, RunFinished) and isinstance(event.outcome, InterruptOutcome):
            self._questions.asked(event.outcome.interrupts)
        if self._resuming and isinstance(event, RunFinished | RunError):
            self._resuming = False
            self._screen.prompt()

    def _is_mine(self, entry: LogEvent) -> bool:
        return self._turn is not None and entry.run is not None and entry.run == self._turn.run

    async def _talk(self) -> int:
        status = 0
        if (question := self._question()) is not None:
            self._screen.question(question)
        self._screen.prompt()
        async for line in self._lines:
            self._screen.typed()
            if line.strip() or self._attached or self._filling:
                status = await self._take(line)
            if not self._resuming:
                self._screen.prompt()
        return 0 if self._interactive else status

    def _question(self) -> Interrupt | None:
        return self._questions.current(self._chat.questions) if self._interactive else None

    async def _take(self, line: str) -> int:
        """Does what a line says: it attaches a file, answers the open question, or is a message."""
        self._interrupted_before = False
        word, _, rest = line.strip().partition(" ")
        if self._interactive and word == ATTACH:
            return await self._attach(rest.strip())
        question = self._question()
        if question is not None and word == SKIP:
            return await self._answer(question, None)
        if question is None or parse_command(line) is not None:
            return await self._send(line.strip() and line)
        if (form := self._questions.form(question)) is not None:
            return await self._fill(form, question, unescape(line))
        if not line.strip():
            return await self._send("")
        answer = answer_to(question, unescape(line))
        if answer is None:
            self._screen.note("that does not answer the question")
            self._screen.question(question)
            return FAILED
        return await self._answer(question, answer)

    @property
    def _filling(self) -> bool:
        """Whether the next line is for a field of a form, which may be empty."""
        question = self._question()
        return question is not None and self._questions.form(question) is not None

    async def _fill(self, form: Form, question: Interrupt, line: str) -> int:
        """Takes the value of a field; asks for the next one, or answers with all of them."""
        try:
            form.take(line)
        except ValueError as error:
            self._screen.note(f"that does not answer the question: {error}")
            return FAILED
        if form.answer is None:
            self._screen.note(form.question)
            return 0
        return await self._answer(question, Spoken(question.id, form.answer))

    async def _answer(self, question: Interrupt, answer: Spoken | None) -> int:
        """Answers; the run that goes on is shown as it comes."""
        self._questions.answered(question.id)
        following = self._question()
        self._resuming = following is None
        try:
            if answer is None:
                await self._chat.answer(question.id, status="cancelled")
            else:
                await self._chat.answer(question.id, answer.payload)
        except AgentwsError as error:
            if self._chat.connection == "closed":
                raise
            self._resuming = False
            if not isinstance(error, AlreadyAnswered):
                self._questions.refused(question.id)
            self._screen.note(f"error: {error}")
            return FAILED
        if following is not None:
            self._screen.question(following)
        return 0

    async def _attach(self, path: str) -> int:
        """Uploads a file, for the next message."""
        if not path:
            self._screen.note(f"expected {ATTACH} PATH")
            return FAILED
        try:
            file = await self._chat.upload(_path(path))
        except (OSError, ValueError, RuntimeError) as error:
            # A name with U+0000, or the home of a user whom the system does not know.
            why = error.strerror if isinstance(error, OSError) else None
            self._screen.note(f"error: {path}: {why or error}")
            return FAILED
        except AgentwsError as error:
            self._screen.note(f"error: {error}")
            return FAILED
        self._attached.append(file)
        what = f"{file.name} ({file.size} bytes)"
        self._screen.note(f"{what} goes with the next message, or an empty line")
        return 0

    async def _send(self, text: str) -> int:
        self._resuming = False
        files = [] if parse_command(text) else self._attached
        try:
            turn = self._turn = self._chat.send(text, attachments=files or None)
            self._screen.mine.add(turn.id)
            if files:
                await turn.accepted()
                self._attached = []
            self._screen.complete(await turn.text())
        except (RunFailed, RunCancelled) as ended:
            self._screen.complete(ended.text)
            how = f"error: {ended}" if isinstance(ended, RunFailed) else "stopped"
            self._screen.ended(turn.run, how)
            return FAILED
        except AgentwsError as error:
            if self._chat.connection == "closed":
                raise
            self._screen.note(f"error: {error}")
            return FAILED
        return 0

    def _interrupt(self) -> None:
        """Ctrl-C: stops the answer. Without an answer, or a second time, it ends the chat."""
        again, self._interrupted_before = self._interrupted_before, True
        if again and self._talking is not None:
            self._left = True
            self._talking.cancel()
        elif self._turn is not None and not self._turn.over:
            self._stopping = asyncio.create_task(self._stop(self._turn.cancel()))
        elif self._resuming:
            self._stopping = asyncio.create_task(self._stop(self._chat.cancel()))
        else:
            self._screen.note("Ctrl-C again or Ctrl-D quits")

    async def _stop(self, stopping: Awaitable[None]) -> None:
        try:
            await stopping
        except AgentwsError as error:
            self._screen.note(f"error: {error}")


def _path(typed: str) -> Path:
    """The path of a file as users type it, or drop it on a terminal: it may be quoted."""
    return Path(typed.strip("'\"")).expanduser()


@contextmanager
def _on_interrupt(act: Callable[[], None]) -> Iterator[None]:
    """SIGINT calls ``act``; on event loops without signal handlers it ends the program."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGINT, act)
    except (NotImplementedError, RuntimeError):
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
