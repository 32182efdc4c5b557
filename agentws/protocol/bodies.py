"""The JSON bodies of HTTP requests and responses that are not frames of the native wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from .answered import AnsweredQuestion
from .events import Level, Retention
from .frames import ClientFrame, Durability, Resume, check_id
from .frames import Failure as Failure
from .messages import Interrupt, Message, Metadata, UserMessage, Wire
from .notices import SnapshotNotice
from .strict import check_value, decode_strictly

T = TypeVar("T")

MAX_TITLE = 200
Title = Annotated[str, msgspec.Meta(max_length=MAX_TITLE)]


class Body(Wire, kw_only=True, frozen=True):
    """The base of every body."""


def read_json(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Decodes a body; an empty one is read as ``{}``. Raises BadRequest."""
    body = decode_strictly(decoder, data or b"{}", "body")
    check_value(msgspec.to_builtins(body), "body")
    if isinstance(body, ClientFrame):
        check_id(body.id)
    return body


# Requests


class SessionChange(Body, kw_only=True, frozen=True):
    """New values for a session. An absent member leaves the value unchanged."""

    title: Title | msgspec.UnsetType = msgspec.UNSET
    metadata: Metadata | msgspec.UnsetType = msgspec.UNSET
    retention: Retention | msgspec.UnsetType | None = msgspec.UNSET
    """Seconds that it is kept after its last use; ``null``: as long as the gateway keeps any."""


class Push(Body, kw_only=True, frozen=True):
    """A durable notice to one session."""

    content: str
    level: Level = "info"
    metadata: Metadata | None = None


class Broadcast(Body, kw_only=True, frozen=True):
    """A notice to every connected client, or to those who follow ``topic``.

    ``durable``: it is posted to the topic, where it is kept.
    """

    content: str
    level: Level = "info"
    metadata: Metadata | None = None
    topic: str | None = None
    durable: bool = False


# Responses


class SessionView(Body, kw_only=True, frozen=True):
    """A session as its owner sees it. Times are ISO 8601 in UTC."""

    id: str
    agent: str
    created_at: str
    updated_at: str
    title: str | None = None
    metadata: Metadata | None = None
    retention: float | None = None
    position: str | None = None
    """The head of its log; only in the view of one session, like ``running``."""
    running: bool | None = None
    """Whether an answer is being written, or a message waits for one."""


class FileView(Body, kw_only=True, frozen=True):
    """A file as its owner sees it. ``size`` is in bytes; ``sha256`` is in hex."""

    id: str
    name: str
    type: str
    size: int
    sha256: str
    created_at: str


class FileList(Body, frozen=True):
    """The files of one upload, in their order."""

    files: list[FileView]


class SessionList(Body, kw_only=True, frozen=True, omit_defaults=False):
    """A page of sessions. ``before`` is the cursor of the next page; absent on the last one."""

    sessions: list[SessionView]
    before: str | msgspec.UnsetType = msgspec.UNSET


class MessageList(Body, kw_only=True, frozen=True, omit_defaults=False):
    """A page of the conversation as of ``position``, at which no run was active.

    ``queued`` are accepted messages that wait for a run, ``interrupts`` the open questions.
    ``before`` asks for older messages; absent if there are none. Only the newest page has
    ``position``, ``queued`` and, if there are any, ``interrupts``. ``notices`` were posted
    among these messages, and ``answered`` are the questions that were asked and answered there;
    absent if there are none.
    """

    messages: list[Message]
    queued: list[UserMessage] | msgspec.UnsetType = msgspec.UNSET
    position: str | msgspec.UnsetType = msgspec.UNSET
    before: int | msgspec.UnsetType = msgspec.UNSET
    notices: list[SnapshotNotice] | msgspec.UnsetType = msgspec.UNSET
    answered: list[AnsweredQuestion] | msgspec.UnsetType = msgspec.UNSET
    interrupts: list[Interrupt] | msgspec.UnsetType = msgspec.UNSET


class StateView(Body, kw_only=True, frozen=True, omit_defaults=False):
    """The shared state as of ``position``; ``null`` when nobody has set any."""

    state: Any
    position: str


class Export(Body, kw_only=True, frozen=True, omit_defaults=False):
    """A whole conversation as of ``position``, at which no run was active, the oldest first."""

    session: SessionView
    position: str
    messages: list[Message]
    notices: list[SnapshotNotice]


class Poll(Body, kw_only=True, frozen=True):
    """Events after a position, as event frames. Ask again with ``after`` set to ``position``."""

    events: list[msgspec.Raw]
    position: str
    resume: Resume
    reason: str | None = None
    more: bool = False
    """Whether there are more events to read right now."""


class Reached(Body, kw_only=True, frozen=True):
    """How many connections a broadcast has reached, on how many nodes.

    ``missing``: live nodes that did not answer within a second; absent if there are none.
    """

    reached: int
    nodes: int
    missing: int = 0


class Posted(Body, kw_only=True, frozen=True):
    """The position of a post in its topic. ``duplicate``: its key had been used for it before."""

    position: str
    duplicate: bool = False


class Drained(Body, kw_only=True, frozen=True, omit_defaults=False):
    """The node has drained, in so many seconds: it can be stopped."""

    status: Literal["drained"] = "drained"
    seconds: float


class Pushed(Body, kw_only=True, frozen=True):
    """The position of the notice in the session's log."""

    position: str


class Health(Body, kw_only=True, frozen=True, omit_defaults=False):
    status: Literal["ok"] = "ok"


class Readiness(Body, kw_only=True, frozen=True, omit_defaults=False):
    """Whether this node should be sent work.

    ``hardening`` is ``preset`` under ``agentws.server``. Under any other server it is ``partial``:
    only the protections that an ASGI app itself can have. It is ``partial`` too where the preset
    does not know a part of its uvicorn, or the host has chosen another protocol class.
    ``durability`` is what an append meets now; absent while the store is unreachable.
    """

    status: Literal["ready", "unavailable", "draining"]
    store: Literal["ok", "unreachable"]
    durability: Durability | msgspec.UnsetType = msgspec.UNSET
    draining: bool
    hardening: Literal["partial", "preset"]
    loop_lag_ms: float = msgspec.field(name="loop_lag_ms")
    """The longest delay of the event loop in the last 10 seconds or a little more."""
    zombie_tasks: int = msgspec.field(name="zombie_tasks")
    """Agents that ignore their cancellation and still run."""


Stats = dict[str, Any]
