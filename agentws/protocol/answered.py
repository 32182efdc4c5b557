"""Answered questions in snapshots and pages: AG-UI has no message type for them.

In a ``MESSAGES_SNAPSHOT`` they are in its metadata; in a page of messages they are a member. They
say what a reader wants to know of a question that is over, in few bytes: a question's schema and a
large answer are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from . import events as e
from . import messages as m
from .outline import Outline
from .sizes import ANSWERED

MOST: Final = 50
"""The most answered questions of one page: the newest."""
LONGEST: Final = 500
"""The most characters of a question or of a text answer, and bytes of any other answer as JSON."""
_MEMBER: Final = "answered"


class Answer(m.Wire, frozen=True):
    """What became of a question."""

    status: Literal["resolved", "cancelled"]
    payload: Any = None
    """The answer; shortened or absent if it is large."""
    by: str | None = None
    """The id of the identity that answered; absent when it is anonymous."""
    expired: bool = False
    """Whether nobody answered before the deadline."""


class AnsweredQuestion(m.Wire, frozen=True):
    """A question (an interrupt) that is over."""

    id: str
    reason: str
    answer: Answer
    message: str | None = None
    """The question; shortened if it is long."""
    run: str | None = None
    """The id of the run that asked."""
    tool_call_id: str | None = None
    """The call whose approval was asked for."""
    after: str | None = None
    """The id of the message before the answer, if there is one."""


def answered_by(
    event: e.InterruptAnswered, outline: Outline, *, after: str | None
) -> AnsweredQuestion | None:
    """The question that ``event`` answers, before ``outline`` has applied it.

    ``None`` if it answers none, or gives the result of a client's tool, which is a message.
    """
    asked = outline.interrupts.get(event.interrupt_id)
    if asked is None or asked.reason == m.CLIENT_TOOL:
        return None
    expired = m.told_in(event.metadata).get("expired") is True
    return AnsweredQuestion(
        asked.id,
        asked.reason,
        Answer(event.status, _shortened(event.payload), event.by, expired),
        None if asked.message is None else _cut(asked.message),
        outline.asked.get(asked.id),
        asked.tool_call_id,
        after,
    )


def newest_of(
    answered: Iterable[AnsweredQuestion], *, room: int = ANSWERED
) -> list[AnsweredQuestion]:
    """The newest ones, in their order, that have together at most ``room`` bytes."""
    kept: list[AnsweredQuestion] = []
    for one in reversed(list(answered)[-MOST:]):
        room -= len(msgspec.json.encode(one))
        if room < 0:
            break
        kept.append(one)
    return kept[::-1]


def answered_in(snapshot: e.MessagesSnapshot) -> list[AnsweredQuestion]:
    """The answered questions of ``snapshot``; empty when they can't be decoded."""
    try:
        found = m.told_in(snapshot.metadata).get(_MEMBER, [])
        return msgspec.convert(found, list[AnsweredQuestion])
    except msgspec.ValidationError:
        return []


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _shortened(payload: Any) -> Any:
    """``payload`` without what is large; of an approval stays whether it is one."""
    if isinstance(payload, str):
        return _cut(payload)
    if len(msgspec.json.encode(payload)) <= LONGEST:
        return payload
    approved = payload.get("approved") if isinstance(payload, dict) else None
    return {"approved": approved} if isinstance(approved, bool) else None
