"""What a client may ask, each command with its handler: one table for WebSocket and HTTP.

To add a command: its struct in ``protocol/frames.py``, what it appends in ``runs/inbox.py``, and
one row of ``HANDLERS`` here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from ..agents.commands import Typed, parse_command
from ..auth import Identity
from ..errors import BadRequest, NotSupported
from ..protocol import frames as f
from ..runs.commands import Asked
from ..runs.inbox import check_content
from ..runs.leased import new_id
from ..sessions.session import Session
from ..store import Appended
from .service import SessionService

Result = Appended | Asked | f.Pong | None
"""What was appended (``None``: nothing had to be), a command to be answered, or the reply."""


class Asking(NamedTuple):
    """One command of a client: who asks what, and of which session."""

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
    """Refused while the node drains. What makes a session is refused where it makes it."""


class Handler(NamedTuple):
    """What handles one command."""

    run: Callable[[Asking], Awaitable[Result]]
    checks_itself: bool = False
    """Whether ``run`` checks the right to write; else that is checked before it."""
    post: Post | None = None


async def _send(asking: Asking) -> Appended:
    service, session, frame, identity = asking
    return await service.send(session, frame, identity=identity)


async def _command(asking: Asking) -> Asked:
    service, session, frame, identity = asking
    return await service.command(session, Typed(frame.name, frame.args or ""), identity=identity)


async def _cancel(asking: Asking) -> Appended | None:
    return await asking.service.inbox.cancel(asking.session, asking.frame, by=asking.by)


async def _withdraw(asking: Asking) -> Appended:
    return await asking.service.inbox.withdraw(asking.session, asking.frame)


async def _answer(asking: Asking) -> Appended:
    service, session, frame, identity = asking
    return await service.inbox.answer(session, frame, identity=identity)


async def _ping(asking: Asking) -> f.Pong:
    return f.Pong(reply=asking.frame.id)


_MESSAGES: Final = Post(
    "/sessions/{id}/messages",
    "Sends a message; a command is answered at once",
    makes_session=True,
)
_CANCEL: Final = Post("/sessions/{id}/cancel", "Stops a run, or takes back its message")
_ANSWERS: Final = Post("/sessions/{id}/answers", "Answers a question of the agent", starts_run=True)

HANDLERS: Final[Mapping[type[f.ClientFrame], Handler]] = {
    f.Send: Handler(_send, checks_itself=True, post=_MESSAGES),
    f.Command: Handler(_command, checks_itself=True),
    f.Cancel: Handler(_cancel, post=_CANCEL),
    f.Withdraw: Handler(_withdraw),
    f.Answer: Handler(_answer, post=_ANSWERS),
    f.Ping: Handler(_ping, checks_itself=True),
}
"""Every other frame of the protocol is refused with NotSupported."""


def command_in(frame: f.AnyClientFrame) -> f.AnyClientFrame:
    """What ``frame`` asks for: the command that its text is, else ``frame``, always with an id.

    Raises BadRequest for an empty message, and for a command without a name.
    """
    match frame:
        case f.Send(content=content):
            check_content(content)
            typed = parse_command(content) if isinstance(content, str) else None
            if typed is None:
                return frame if frame.id else msgspec.structs.replace(frame, id=new_id("msg"))
            # Without an id of the client's own it has no idempotency key.
            found = f.Command(id=frame.id or None, name=typed.name, args=typed.args)
        case f.Command():
            found = msgspec.structs.replace(frame, name=frame.name.lstrip("/"))
        case _:
            return frame
    if not found.name:
        raise BadRequest("There is no command name.", expected="/help for a list")
    return found


async def perform(asking: Asking, *, may_write: bool = False) -> Result:
    """Does what the client asks. The frame is one that :func:`command_in` has returned.

    ``may_write``: the right to write was checked when the session was opened. Raises NotSupported,
    Forbidden, and what refuses the command.
    """
    handler = HANDLERS.get(type(asking.frame))
    if handler is None:
        raise NotSupported()
    if not (may_write or handler.checks_itself):
        await asking.service.check_write(asking.session, asking.identity)
    return await handler.run(asking)


def reply(asking: Asking, done: Appended | f.Pong | None) -> f.ControlFrame:
    """``accepted``, with the head where nothing had to be appended; or the reply itself."""
    if isinstance(done, f.Pong):
        return done
    position = asking.session.head if done is None else done.position
    return f.Accepted(
        reply=asking.frame.id,
        position=str(position),
        durability=asking.service.store.durability,
        duplicate=done is not None and done.duplicate,
    )
