"""The public face of the Python client: one session, to read and to send to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from ..errors import AgentwsError, Internal, NotFound, RunActive
from ..protocol.answered import AnsweredQuestion
from ..protocol.bodies import FileView
from ..protocol.events import Overlap
from ..protocol.frames import (
    AnyClientFrame,
    Cancel,
    Edit,
    Regenerate,
    Send,
    Welcome,
)
from ..protocol.messages import Content, Interrupt, Message, Metadata, UserMessage
from .connection import Connection, Timing
from .errors import ChatClosed, Disconnected
from .outbox import Reply
from .requests import Requests, new_id
from .session import FollowedSession, Token
from .tools import ClientTools, Handler
from .topics import Topics
from .transport import OpenTransport
from .turn import Asking, Turn
from .updates import ConnectionChange, ConnectionState, LogEvent, Update
from .uploading import Files, NoFiles, Progress, Source, Upload, name_of

CLOSING: Final = 5.0
"""Seconds that leaving waits for the server to accept the last messages."""


class Chat(Requests):
    """One session. It survives the loss of connections.

    Use it as ``async with``. Entering waits until the session's content has arrived. Leaving waits
    until the server has accepted what was sent. In between, the chat reconnects by itself, resumes
    at its position, and resends what the server has not accepted, without duplicates. When the
    server refuses for good (wrong credentials, another user's session), everything that waits on
    the chat raises the refusal. If nothing waits, leaving raises it.
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
        unreachable: Callable[[], str] = lambda: "The server can't be reached.",
        files: Files | None = None,
    ) -> None:
        """``open_transport`` opens one connection. ``unreachable`` returns the message of the
        Disconnected error when no other reason is known. ``files`` uploads and deletes files. The
        rest is as for :func:`connect`."""
        self._followed = FollowedSession(
            session=session, after=after, agent=agent, token=token, ring=self._ring
        )
        self._open_transport = open_transport
        self._connect_timeout = connect_timeout
        self._timing = timing or Timing()
        self._unreachable = unreachable
        self._files = files or NoFiles()
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._failure_seen = False
        self._tools: ClientTools | None = None
        self._following: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Chat {self.session or '(new session)'} {self.connection}>"

    # Entering and leaving

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise ChatClosed(
                "A chat can be entered only once: call connect() again for another one."
            )
        self._connection = Connection(
            self._open_transport, self._followed, timing=self._timing, random=random.random
        )
        self._followed.changed(ConnectionChange("connecting"))
        self._task = asyncio.create_task(self._run(self._connection), name="agentws chat")
        try:
            async with asyncio.timeout(self._connect_timeout):
                await self._followed.caught_up.wait()
        except TimeoutError:
            why = self._followed.why or self._unreachable()
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
            if error is None and self._followed.outbox.open:
                await asyncio.wait(self._followed.outbox.open, timeout=CLOSING)
        finally:
            await self._stop()
        if error is None and self._failure is not None and not self._failure_seen:
            raise self._failure

    async def _run(self, connection: Connection) -> None:
        try:
            await connection.run()
        except asyncio.CancelledError:
            self._followed.end(ChatClosed())
            raise
        except AgentwsError as error:
            self._failure = error
            self._failure_seen = self._followed.end(error)
        except Exception as error:
            self._failure = error
            self._failure_seen = self._followed.end(
                Internal(f"The chat failed: {type(error).__name__}.")
            )
        finally:
            self._followed.caught_up.set()

    async def _stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    # Reading

    @property
    def session(self) -> str | None:
        """The id of the session; the server makes one when none was given."""
        return self._followed.session

    @property
    def welcome(self) -> Welcome | None:
        """The server's last ``welcome`` frame: agents, limits, identity."""
        return self._followed.welcome

    @property
    def connection(self) -> ConnectionState:
        return self._followed.connection

    @property
    def agents(self) -> list[str]:
        """The names of the agents that the server has; empty before its ``welcome``."""
        return [] if self.welcome is None else list(self.welcome.agents)

    @property
    def agent(self) -> str | None:
        """The agent that the session has now."""
        known = None if self.welcome is None else self.welcome.agent
        return self._followed.log.fold.agent or known

    @property
    def messages(self) -> list[Message]:
        """The conversation as received so far. An unfinished answer has its text so far."""
        return self._followed.log.fold.messages

    @property
    def state(self) -> Any:
        """The state that the agent and its clients share, or ``None``."""
        return self._followed.log.fold.state

    @property
    def questions(self) -> list[Interrupt]:
        """The questions that are open; see :meth:`answer`."""
        return list(self._followed.log.fold.outline.interrupts.values())

    @property
    def answered(self) -> list[AnsweredQuestion]:
        """The newest questions that are over, the oldest first: what was asked, and the answer."""
        return list(self._followed.log.answered)

    @property
    def position(self) -> str | None:
        """The last position applied. Pass it as ``after`` to resume there in a later chat."""
        return self._followed.log.after

    @property
    def run(self) -> str | None:
        """The id of the active run, or ``None``."""
        return self._followed.log.fold.outline.run

    def watch(self) -> AsyncIterator[Update]:
        """Everything from now on: events, resets, changes of the connection, notices and errors.

        Call it before entering to miss nothing. The iterator ends when the chat is left, and raises
        the error when the chat fails.
        """
        updates = self._followed.watch()
        if self._task is not None and self._task.done():
            updates.end(self._failure if isinstance(self._failure, AgentwsError) else None)
        return updates

    def events(self) -> AsyncIterator[LogEvent]:
        """Every event of the log from now on, of every run and client, each once."""
        return _log_events(self.watch())

    def _watch_presence(self, watch: bool) -> None:
        self._check_open()
        self._followed.watches_presence = watch

    @property
    def _topics(self) -> Topics:
        return self._followed.topics

    # Sending

    def send(
        self,
        content: Content,
        *,
        id: str | None = None,
        overlap: Overlap | None = None,
        agent: str | None = None,
        attachments: Sequence[str | FileView] | None = None,
        metadata: Metadata | None = None,
    ) -> Turn:
        """Sends a user message, now or as soon as there is a connection.

        Iterate over the returned turn for the events of the answer. ``id`` is the message's
        idempotency key: the server accepts the same id once, from every chat. With the overlap
        ``steer`` the active run may take the message; if it does not, it waits. ``attachments`` are
        files that were uploaded, or their ids. Text that is a
        command (``/help``, ``ping``) is not a message: every send of it runs at most once.
        Raises BadRequest, TooMany when too many messages are unsent, ChatClosed outside of a chat.
        """
        frame = Send(
            id=id or new_id("msg"),
            content=content,
            overlap=overlap,
            agent=agent,
            attachments=_ids_of(attachments) if attachments else None,
            metadata=metadata,
        )
        return self._followed.turns.find(frame.id) or self._ask(frame, frame.id, frame.id)

    def _ask(self, frame: Asking, id: str, message: str) -> Turn:
        self._check_open()
        request = self._followed.outbox.add(id, frame)
        turn = Turn(frame, request, self._cancel_turn, message=message)
        self._followed.open_turn(turn, request)
        return turn

    async def upload(
        self,
        source: Source,
        *,
        name: str | None = None,
        type: str | None = None,
        progress: Progress | None = None,
    ) -> FileView:
        """Uploads bytes, or the file at a path, for this session. Attach the result to a message.

        ``progress`` is called with the bytes sent and the size. Raises TooLarge, QuotaExceeded,
        UnsupportedMedia, NotFound when the server takes no files, Disconnected when the connection
        was lost (a second upload makes a second file), BadProxy, OSError for an unreadable file.
        """
        self._check_open()
        token = await self._followed.token()
        limit = None if self.welcome is None else self.welcome.limits.max_file_size
        named = name_of(source, name)
        return await self._files.upload(
            Upload(source, named, type, self.session, token, progress, limit)
        )

    async def delete_file(self, file: FileView | str) -> None:
        """Deletes a file, such as an upload that no message is sent with. Raises NotFound."""
        self._check_open()
        (id,) = _ids_of([file])
        token = await self._followed.token()
        await self._files.delete(id, session=self.session, token=token)

    def edit(
        self,
        message: str,
        content: Content,
        *,
        id: str | None = None,
        agent: str | None = None,
        attachments: Sequence[str] | None = None,
        metadata: Metadata | None = None,
    ) -> Turn:
        """Goes on from an earlier user message with another one, on a new branch.

        ``id`` is that of the new message. Raises as :meth:`send`; the turn raises NotFound if
        ``message`` is not in view, and RunActive during a run.
        """
        frame = Edit(
            id=id or new_id("msg"),
            message=message,
            content=content,
            agent=agent,
            attachments=list(attachments) if attachments else None,
            metadata=metadata,
        )
        return self._followed.turns.find(frame.id) or self._ask(frame, frame.id, frame.id)

    def regenerate(self, message: str | None = None, *, agent: str | None = None) -> Turn:
        """Answers a user message again, by default the last one. Raises NotFound and RunActive."""
        users = [one.id for one in self.messages if isinstance(one, UserMessage)]
        if message is None and not users:
            raise NotFound("There is no message to answer again.")
        asked = message or users[-1]
        if self._followed.turns.find(asked) is not None:
            raise RunActive()
        id = new_id("req")
        return self._ask(Regenerate(id=id, message=asked, agent=agent), id, asked)

    async def ask(self, content: Content, **options: Any) -> str:
        """Sends a message and returns the text of its answer. The options are those of ``send``.

        Raises what :meth:`Turn.text` raises.
        """
        return await self.send(content, **options).text()

    async def cancel(self) -> None:
        """Stops the active run. Without one, stops the newest message that waits for a run."""
        outline = self._followed.log.fold.outline
        message = next(reversed(list(outline.queue)), None) or self._followed.turns.newest
        if outline.run is None and message is None:
            return
        # It names its target, so that a late request never stops the next run.
        frame = (
            Cancel(id=new_id("req"), run=outline.run)
            if outline.run is not None
            else Cancel(id=new_id("req"), message=message)
        )
        await self._request(frame)

    def tool(self, name: str, handler: Handler) -> None:
        """Has ``handler`` make the calls of the agent's ``ctx.client_tool(name, ...)``.

        It is given the arguments as a dict, and returns text, or what is sent as JSON; what it
        raises is sent as the error. Calls that are open already are made too. Call it within
        ``async with``.
        """
        self._check_open()
        if self._tools is None:
            self._tools = ClientTools(lambda: self._followed.log.fold, self._send_result)
            following = self._tools.follow(self.watch())
            self._following = asyncio.create_task(following, name="client tools")
        self._tools.add(name, handler)

    async def _send_result(self, call: str, content: str | None, error: str | None) -> None:
        await self.tool_result(call, content, error=error)

    async def _request(self, frame: AnyClientFrame, *, repeatable: bool = True) -> Reply:
        self._check_open()
        assert frame.id is not None
        request = self._followed.outbox.add(frame.id, frame, repeatable=repeatable)
        return await asyncio.shield(request.replied)

    async def _cancel_turn(self, turn: Turn) -> None:
        await self._request(Cancel(id=new_id("req"), message=turn.id))

    def _check_open(self) -> None:
        if self._failure is not None:
            self._failure_seen = True
            raise self._failure
        if self._task is None or self._task.done():
            raise ChatClosed()

    def _ring(self) -> None:
        if self._connection is not None:
            self._connection.ring()


def _ids_of(attachments: Sequence[str | FileView]) -> list[str]:
    return [one.id if isinstance(one, FileView) else one for one in attachments]


async def _log_events(updates: AsyncIterator[Update]) -> AsyncIterator[LogEvent]:
    async for update in updates:
        if isinstance(update, LogEvent):
            yield update
