"""The frames of the native wire, ``agentws.v1``, in both directions.

A client sends one JSON object per WebSocket message; the server sends one, or an array of them.
Event frames (the only ones with a position) are made of stored bytes by
:mod:`agentws.protocol.codec`; everything else that the server sends is a control frame, defined
here. The structs of client frames are what every wire decodes to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, get_args

import msgspec

from ..errors import AgentwsError, BadRequest
from .events import JsonPatch, Level, Overlap
from .messages import Content, Metadata, Wire
from .strict import check_value, decode_strictly

NATIVE: Final = "agentws.v1"
"""The subprotocol that chooses the native wire."""
SIMPLE: Final = "agentws.simple"
"""The subprotocol that chooses the simple wire. A browser that offers a token must offer a wire."""
BEARER: Final = "agentws.bearer."
"""Prefix of the subprotocol entry that carries a token, base64url without padding."""
MAX_ID: Final = 128
NO_ID: Final = ""
"""The id of a :class:`Send` whose wire has no ids; the handler of the command generates one."""

Durability = Literal["process", "disk", "replicated"]
Resume = Literal["new", "replay", "snapshot"]


# From the client


class ClientFrame(Wire, tag_field="type", kw_only=True, frozen=True):
    """The base of every command of a client. The reply has its ``id`` as ``reply``."""

    id: str | None = None


class Send(ClientFrame, tag="send", kw_only=True, frozen=True):
    """A user message. ``id`` becomes the message's id, and is the idempotency key."""

    id: str
    content: Content
    attachments: list[str] | None = None
    agent: str | None = None
    overlap: Overlap | None = None
    metadata: Metadata | None = None


class Regenerate(ClientFrame, tag="regenerate", kw_only=True, frozen=True):
    """Answers a user message again; by default the last one."""

    message: str | None = None
    agent: str | None = None


class Edit(ClientFrame, tag="edit", kw_only=True, frozen=True):
    """Goes on from an earlier user message with another one, whose id is ``id``."""

    id: str
    message: str
    content: Content
    attachments: list[str] | None = None
    agent: str | None = None
    metadata: Metadata | None = None


class Switch(ClientFrame, tag="switch", kw_only=True, frozen=True):
    """Goes back to another branch of the conversation."""

    branch: str


class Say(Send, tag="say", kw_only=True, frozen=True):
    """A message of a wire without answers: it answers the open question, if it is an answer.

    Not on the wire: the decoder of such a wire makes it.
    """


class Cancel(ClientFrame, tag="cancel", kw_only=True, frozen=True):
    run: str | None = None
    message: str | None = None


class Withdraw(ClientFrame, tag="withdraw", kw_only=True, frozen=True):
    message: str


class EditQueued(ClientFrame, tag="edit_queued", kw_only=True, frozen=True):
    """New content for a queued message. ``attachments`` and ``metadata`` stay if left out."""

    message: str
    content: Content
    attachments: list[str] | None = None
    metadata: Metadata | None = None


class Promote(ClientFrame, tag="promote", kw_only=True, frozen=True):
    message: str


class Answer(ClientFrame, tag="answer", kw_only=True, frozen=True):
    interrupt: str
    status: Literal["resolved", "cancelled"] = "resolved"
    payload: Any = None


class ToolResult(ClientFrame, tag="tool_result", kw_only=True, frozen=True):
    tool_call_id: str
    content: Content | None = None
    error: str | None = None


class State(ClientFrame, tag="state", kw_only=True, frozen=True):
    patch: JsonPatch


class Command(ClientFrame, tag="command", kw_only=True, frozen=True):
    name: str
    args: str | None = None


class Subscribe(ClientFrame, tag="subscribe", kw_only=True, frozen=True):
    """Follows a topic from the position ``after`` on, or from its oldest post that is kept."""

    topic: str
    after: str | None = None


class Unsubscribe(ClientFrame, tag="unsubscribe", kw_only=True, frozen=True):
    topic: str


class WatchPresence(ClientFrame, tag="presence", kw_only=True, frozen=True):
    """Asks who is in the session; ``watch``: whether to be told of later changes, too."""

    watch: bool | None = None


class Auth(ClientFrame, tag="auth", kw_only=True, frozen=True):
    token: str


class Ping(ClientFrame, tag="ping", kw_only=True, frozen=True):
    pass


AnyClientFrame = (
    Send
    | Regenerate
    | Edit
    | Switch
    | Cancel
    | Withdraw
    | EditQueued
    | Promote
    | Answer
    | ToolResult
    | State
    | Command
    | Subscribe
    | Unsubscribe
    | WatchPresence
    | Auth
    | Ping
)

_client_frames: Final[msgspec.json.Decoder[AnyClientFrame]] = msgspec.json.Decoder(AnyClientFrame)
_CLIENT_TYPES: Final = ", ".join(
    str(kind.__struct_config__.tag) for kind in get_args(AnyClientFrame) if kind is not Auth
)


def decode_client_frame(data: bytes | str) -> AnyClientFrame:
    """The frame in ``data``; raises BadRequest that names the wrong member."""
    try:
        frame = decode_strictly(_client_frames, data, "frame")
    except BadRequest as error:
        error.expected = error.expected or f"an object whose type is one of {_CLIENT_TYPES}"
        raise
    check_id(frame.id)
    # The members that may hold any JSON.
    match frame:
        case Send() | Edit() | EditQueued():
            if frame.metadata is not None:
                check_value(msgspec.to_builtins(frame.metadata), "frame")
            if not isinstance(frame.content, str):
                check_value(msgspec.to_builtins(frame.content), "frame")
        case Answer(payload=part) | ToolResult(content=part) | State(patch=part):
            check_value(msgspec.to_builtins(part), "frame")
    return frame


def check_id(value: str | None) -> None:
    """Raises BadRequest unless ``value`` is absent or 1 to 128 characters without U+0000."""
    if value is None:
        return
    # The host's code may pass another type.
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID or "\x00" in value:
        raise BadRequest("This id is not valid.", expected=f"1 to {MAX_ID} characters")


# From the server


class ServerFrame(Wire, tag_field="type", kw_only=True, frozen=True):
    """The base of control frames: no position, never replayed."""


class FrameLimits(Wire, frozen=True):
    """The limits for a client: sizes in bytes, counts, ``message_rate`` per second."""

    max_message_size: int
    max_queued: int
    message_rate: float
    max_file_size: int | None = None
    """This and the following are absent if the gateway keeps no files."""
    max_files_per_message: int | None = None
    file_types: list[str] | None = None


class Welcome(ServerFrame, tag="welcome", kw_only=True, frozen=True):
    protocol: str
    connection: str
    session: str
    head: str
    resume: Resume
    reason: str | None = None
    agent: str
    agents: list[str]
    overlaps: dict[str, list[Overlap]] | None = None
    """What the agents allow, by name; of those that declare it for all their runs."""
    identity: str | None = None
    heartbeat: float
    limits: FrameLimits


class Accepted(ServerFrame, tag="accepted", kw_only=True, frozen=True):
    reply: str | None = None
    position: str
    durability: Durability
    duplicate: bool = False


class Failure(Wire, kw_only=True, frozen=True):
    """An error as a client sees it: the body of an HTTP response, or part of an ``error`` frame."""

    code: str
    message: str
    retryable: bool
    retry_after: float | None = None
    expected: str | None = None


class Error(ServerFrame, Failure, tag="error", kw_only=True, frozen=True):
    """A refusal. ``reply`` names the command frame that it answers."""

    reply: str | None = None


class Notice(ServerFrame, tag="notice", kw_only=True, frozen=True):
    """A message for the user that is not in the log. ``reply``: the id of the command answered."""

    content: str
    level: Level
    metadata: Metadata | None = None
    topic: str | None = None
    reply: str | None = None


class Subscribed(ServerFrame, tag="subscribed", kw_only=True, frozen=True):
    """The posts after the position ``after`` follow; what was received before a snapshot is void.

    Without ``reply``, the reader was so slow that its place in the topic was trimmed.
    """

    reply: str | None = None
    topic: str
    after: str
    head: str
    resume: Resume
    reason: str | None = None


class Unsubscribed(ServerFrame, tag="unsubscribed", kw_only=True, frozen=True):
    reply: str | None = None
    topic: str


class Present(Wire, frozen=True):
    """An identity in a session, and how many connections it has to it."""

    id: str
    connections: int


class Presence(ServerFrame, tag="presence", kw_only=True, frozen=True):
    """Who is in the session. ``members`` are those with an identity, at most a hundred."""

    connections: int
    members: list[Present]
    reply: str | None = None


class Pong(ServerFrame, tag="pong", kw_only=True, frozen=True):
    reply: str | None = None


class Bye(ServerFrame, tag="bye", kw_only=True, frozen=True):
    """The last frame before a close. ``reason`` is an error's code, ``message`` its sentence."""

    code: int
    reason: str
    message: str | None = None
    retryable: bool
    retry_after: float | None = None


ControlFrame = (
    Welcome | Accepted | Subscribed | Unsubscribed | Presence | Error | Notice | Pong | Bye
)

MAX_SENTENCE: Final = 4_000
"""The most characters of an error's sentence."""
encode_frame: Final[Callable[[ControlFrame | AnyClientFrame], bytes]] = (
    msgspec.json.Encoder().encode
)
"""The bytes of a frame."""


def sendable(sentence: str) -> str:
    """``sentence`` in a form that can be encoded and stored: an agent's exception may contain it.

    Cut to ``MAX_SENTENCE`` characters, without U+0000 and lone surrogates.
    """
    if len(sentence) > MAX_SENTENCE:
        sentence = sentence[: MAX_SENTENCE - 1] + "\u2026"
    return sentence.replace("\x00", "").encode(errors="replace").decode()


def failure(error: AgentwsError) -> Failure:
    """``error`` as a client sees it."""
    return Failure(
        code=error.code,
        message=sendable(error.message),
        retryable=error.retryable,
        retry_after=error.retry_after,
        expected=None if error.expected is None else sendable(error.expected),
    )


def error_frame(error: AgentwsError, *, reply: str | None = None) -> Error:
    """``error`` as a frame, with the same members as the body of an HTTP error."""
    return Error(reply=reply, **msgspec.structs.asdict(failure(error)))


class EventFrame(msgspec.Struct, frozen=True):
    """An event frame as a client reads it; ``event`` is decoded only when it is needed."""

    id: str
    event: msgspec.Raw
    run: str | None = None
    topic: str | None = None
    """The topic whose log it is of; ``None``: the session's."""


_control_frames: Final[msgspec.json.Decoder[ControlFrame]] = msgspec.json.Decoder(ControlFrame)
_event_frame: Final = msgspec.json.Decoder(EventFrame)
_raw_frames: Final = msgspec.json.Decoder(list[msgspec.Raw])


def decode_server_message(data: bytes | str) -> list[EventFrame | ControlFrame | None]:
    """The frames of one server message, in order; ``None`` for a type not known here."""
    text = data.encode() if isinstance(data, str) else data
    parts = _raw_frames.decode(text) if text.startswith(b"[") else [msgspec.Raw(text)]
    return [_server_frame(bytes(part)) for part in parts]


def _server_frame(data: bytes) -> EventFrame | ControlFrame | None:
    if data.startswith(b'{"id":'):
        return _event_frame.decode(data)
    try:
        return _control_frames.decode(data)
    except msgspec.ValidationError:
        return None
