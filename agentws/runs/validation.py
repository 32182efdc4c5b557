"""Validation of what an agent yields: a valid item can be written, read back and shown.

An event's constructor does not check its members, and one record that can't be read would make
its whole log unreadable.
"""

from __future__ import annotations

from typing import Final, TypeVar, cast

import msgspec

from ..errors import BadRequest, EventTooLarge, InvalidEvent
from ..protocol import events as e
from ..protocol.codec import decode_event
from ..protocol.events import AnyEvent, Event
from ..protocol.merge import LARGEST_HEAD
from ..protocol.sizes import TITLE
from ..protocol.strict import check_value
from ..protocol.text import with_plain_text

E = TypeVar("E", bound=Event)

_encoder: Final = msgspec.json.Encoder()
_REFUSALS: Final = (TypeError, ValueError, OverflowError, RecursionError)
"""What msgspec raises for values that it can't encode or decode, besides its own errors."""


def check_text(text: str) -> None:
    """Raises InvalidEvent for text that JSON or a store can't hold."""
    if text.isascii() and "\x00" not in text:
        return
    try:
        text.encode()
        check_value(text, "text")
    except (UnicodeEncodeError, BadRequest) as error:
        raise InvalidEvent(
            "The agent yielded text that is not Unicode.",
            expected="text without lone surrogates and U+0000",
        ) from error


def check_event(event: Event) -> int:
    """The size of ``event``: in bytes, or for a plain delta in characters.

    Raises InvalidEvent for an event that can't be decoded from its own encoding.
    """
    delta = _plain_delta(event)
    if delta is not None:
        check_text(delta)
        return len(delta)
    try:
        check_value(msgspec.to_builtins(event), "event")
        data = _encoder.encode(event)
        if decode_event(data) != event:
            # It may have bytes, which read back as base64.
            _converted(event)
        return len(data)
    except (BadRequest, msgspec.MsgspecError, *_REFUSALS) as error:
        raise InvalidEvent(
            f"The agent yielded a {event.__struct_config__.tag} with members that are not valid."
        ) from error


def checked_event(event: E) -> tuple[E, int]:
    """``event`` and its size, as :func:`check_event`; with exact text for subclasses of ``str``.

    Libraries return such text: of a message, of a web page, of an array.
    """
    try:
        return event, check_event(event)
    except InvalidEvent as invalid:
        try:
            exact = cast(E, _converted(event))
        except (msgspec.MsgspecError, *_REFUSALS):
            raise invalid from invalid.__cause__
    return exact, check_event(exact)


def _converted(event: Event) -> Event:
    """A copy of ``event`` with exact text; raises ValidationError for bytes in place of text."""
    converted: AnyEvent = msgspec.convert(with_plain_text(event, str_keys=True), AnyEvent)
    return converted


def as_read(event: E) -> E:
    """``event`` as a reader of the log gets it; raises InvalidEvent as :func:`check_event`.

    An agent may yield an instance of a subclass, or members of other types that encode to the same:
    this node must see in the event what other nodes read.
    """
    return cast(E, decode_event(_encoder.encode(checked_event(event)[0])))


def check_ids(event: Event) -> None:
    """Raises EventTooLarge for an id that is: every event and message that has it repeats it."""
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if name.endswith("_id") and isinstance(value, str) and len(value.encode()) > LARGEST_HEAD:
            raise EventTooLarge(
                f"The {name} of this {event.__struct_config__.tag} has {len(value.encode())} bytes;"
                f" at most {LARGEST_HEAD} are allowed."
            )


def check_title(title: str) -> None:
    """Raises EventTooLarge for a title that is too large for a snapshot."""
    size = len(_encoder.encode(title))
    if size > TITLE:
        raise EventTooLarge(f"This title has {size} bytes; at most {TITLE} are kept.")


def _plain_delta(event: Event) -> str | None:
    """The text of an event that is a delta and nothing else: the fast path of most events."""
    if not isinstance(event, e.TextMessageContent | e.ToolCallArgs | e.ReasoningMessageContent):
        return None
    if type(event.delta) is not str or event.subagent_run_id is not None:
        return None
    plain = event.metadata is None and event.raw_event is None and event.timestamp is None
    return event.delta if plain else None
