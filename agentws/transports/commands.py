"""The commands of clients: one table of handlers for WebSocket and HTTP.

To add a command: its struct in ``protocol/frames.py``, what it appends in ``runs/inbox.py``, and
one row of ``HANDLERS`` here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from ..agents.commands import Typed, parse_command
from ..auth import Identity
from ..errors import BadRequest, Draining, NotSupported
from ..protocol import frames as f
from ..protocol.spoken import spoken_answer
from ..runs import answers, branching
from ..runs.attaching import check_content, has_files
from ..runs.commands import Invocation
from ..runs.ids import new_id
from ..sessions.session import Session
from ..store import Appended
from .service import SessionService

Result = Appended | Invocation | f.Pong | None
"""What was appended (``None`` for nothing), a slash command to be answered, or the reply itself."""


class ClientRequest(msgspec.Struct, frozen=True):
    """A command of a client: the frame, who sent it, and the session that it is for."""

    service: SessionService
    session: Session
    frame: Any
    identity: Identity | None

    @property
    def by(self) -> str | None:
        return None if self.identity is None else self.identity.id


class Post(NamedTuple):
    """How a command is sent over HTTP: its frame is the body of a ``POST`` to this path."""

    path: str
    summary: str
    makes_session: bool = False
    starts_run: bool = False
    """Refused while the node drains. A command that makes a session is refused when it does so."""


class Handler(msgspec.Struct, frozen=True):
    """What handles one command."""

    run: Callable[[ClientRequest], Awaitable[Result]]
    checks_itself: bool = False
    """Whether ``run`` checks the right to write; else that is checked before it."""
    post: Post | None = None


def _send(request: ClientRequest) -> Awaitable[Appended]:
    return request.service.send(request.session, request.frame, identity=request.identity)


def _regenerate(request: ClientRequest) -> Awaitable[Appended]:
    agent, identity = _agent_of(request), request.identity
    inbox, session, frame = request.service.inbox, request.session, request.frame
    return branching.regenerate(inbox, session, frame, agent=agent, identity=identity)


def _edit(request: ClientRequest) -> Awaitable[Appended]:
    agent, identity = _agent_of(request), request.identity
    inbox, session, frame = request.service.inbox, request.session, request.frame
    return branching.edit(inbox, session, frame, agent=agent, identity=identity)


def _agent_of(request: ClientRequest) -> str | None:
    """The agent that is to answer, if the frame names one. Raises Draining and BadRequest."""
    if request.service.draining:
        raise Draining(retry_after=1.0)
    named = request.frame.agent
    return None if named is None else request.service.agents.check(named)


def _switch(request: ClientRequest) -> Awaitable[Appended | None]:
    return branching.switch(request.service.inbox, request.session, request.frame, by=request.by)


async def _say(request: ClientRequest) -> Appended:
    """A message, or the answer to the open question if it is one."""
    session, frame, identity = request.session, request.frame, request.identity
    answer = None
    # An answer has no files: they would be lost.
    if isinstance(frame.content, str) and not has_files(frame):
        answer = spoken_answer(session.outline, frame.content)
    if answer is None:
        return await _send(request)
    await request.service.check_write(session, identity)
    said = f.Answer(interrupt=answer.interrupt, payload=answer.payload)
    return await answers.answer(request.service.inbox, session, said, identity=identity)


def _command(request: ClientRequest) -> Awaitable[Invocation]:
    typed = Typed(request.frame.name, request.frame.args or "")
    return request.service.command(request.session, typed, identity=request.identity)


def _cancel(request: ClientRequest) -> Awaitable[Appended | None]:
    return request.service.inbox.cancel(request.session, request.frame, by=request.by)


def _withdraw(request: ClientRequest) -> Awaitable[Appended]:
    return request.service.inbox.withdraw(request.session, request.frame)


def _edit_queued(request: ClientRequest) -> Awaitable[Appended | None]:
    content = request.frame.content
    if isinstance(content, str) and parse_command(content) is not None:
        raise BadRequest("A command can't wait in the queue.", expected="text, or //text")
    return request.service.inbox.edit_queued(request.session, request.frame, by=request.by)


def _promote(request: ClientRequest) -> Awaitable[Appended | None]:
    return request.service.inbox.promote(request.session, request.frame, by=request.by)


def _answer(request: ClientRequest) -> Awaitable[Appended]:
    inbox, session, frame = request.service.inbox, request.session, request.frame
    return answers.answer(inbox, session, frame, identity=request.identity)


def _state(request: ClientRequest) -> Awaitable[Appended]:
    return request.service.change_state(request.session, request.frame, identity=request.identity)


def _tool_result(request: ClientRequest) -> Awaitable[Appended]:
    inbox, session, frame = request.service.inbox, request.session, request.frame
    return answers.tool_result(inbox, session, frame, identity=request.identity)


async def _ping(request: ClientRequest) -> f.Pong:
    return f.Pong(reply=request.frame.id)


_MESSAGES: Final = Post(
    "/sessions/{id}/messages",
    "Sends a message; a command is answered at once",
    makes_session=True,
)
_REGENERATE: Final = Post("/sessions/{id}/regenerate", "Answers a message again", starts_run=True)
_EDIT: Final = Post("/sessions/{id}/edit", "Changes an earlier message", starts_run=True)
_SWITCH: Final = Post("/sessions/{id}/switch", "Goes back to another branch")
_CANCEL: Final = Post("/sessions/{id}/cancel", "Stops a run, or withdraws its message")
_EDIT_QUEUED: Final = Post("/sessions/{id}/queue/edit", "Replaces a queued message in its place")
_PROMOTE: Final = Post("/sessions/{id}/queue/promote", "Moves a queued message to the front")
_ANSWERS: Final = Post("/sessions/{id}/answers", "Answers a question of the agent", starts_run=True)
_TOOL_RESULTS: Final = Post(
    "/sessions/{id}/tool-results", "Gives the result of a client's tool", starts_run=True
)

HANDLERS: Final[Mapping[type[f.ClientFrame], Handler]] = {
    f.Send: Handler(_send, checks_itself=True, post=_MESSAGES),
    f.Regenerate: Handler(_regenerate, post=_REGENERATE),
    f.Edit: Handler(_edit, post=_EDIT),
    f.Switch: Handler(_switch, post=_SWITCH),
    f.Say: Handler(_say, checks_itself=True),
    f.Command: Handler(_command, checks_itself=True),
    f.Cancel: Handler(_cancel, post=_CANCEL),
    f.Withdraw: Handler(_withdraw),
    f.EditQueued: Handler(_edit_queued, post=_EDIT_QUEUED),
    f.Promote: Handler(_promote, post=_PROMOTE),
    f.Answer: Handler(_answer, post=_ANSWERS),
    f.State: Handler(_state),
    f.ToolResult: Handler(_tool_result, post=_TOOL_RESULTS),
    f.Ping: Handler(_ping, checks_itself=True),
}
"""Every other frame of the protocol is refused with NotSupported."""


def command_in(frame: f.AnyClientFrame) -> f.AnyClientFrame:
    """``frame``, or the command that is typed in its text. A message without an id is given one.

    Raises BadRequest for an empty message, and for a command without a name.
    """
    match frame:
        case f.Send():
            check_content(frame)
            content = frame.content
            typed = parse_command(content) if isinstance(content, str) else None
            if typed is None:
                return frame if frame.id else msgspec.structs.replace(frame, id=new_id("msg"))
            # A generated id would be no idempotency key: the client does not know it.
            found = f.Command(id=frame.id or None, name=typed.name, args=typed.args)
        case f.Command():
            found = msgspec.structs.replace(frame, name=frame.name.lstrip("/"))
        case _:
            return frame
    if not found.name:
        raise BadRequest("There is no command name.", expected="/help for a list")
    return found


def perform(request: ClientRequest, *, may_write: bool = False) -> Awaitable[Result]:
    """Carries out the command. The frame is one that :func:`command_in` has returned.

    ``may_write``: the right to write was checked when the session was opened. Raises NotSupported,
    Forbidden, and the refusal of the command.
    """
    handler = HANDLERS.get(type(request.frame))
    if handler is None:
        raise NotSupported()
    if may_write or handler.checks_itself:
        return handler.run(request)
    return _check_and_run(handler, request)


async def _check_and_run(handler: Handler, request: ClientRequest) -> Result:
    await request.service.check_write(request.session, request.identity)
    return await handler.run(request)


def reply(request: ClientRequest, done: Appended | f.Pong | None) -> f.ControlFrame:
    """``accepted``, with the head if nothing was appended; or the reply itself."""
    if isinstance(done, Appended):
        position, duplicate = done.position, done.duplicate
    elif done is None:
        position, duplicate = request.session.head, False
    else:
        return done
    return f.Accepted(
        reply=request.frame.id,
        position=str(position),
        durability=request.service.store.durability,
        duplicate=duplicate,
    )
