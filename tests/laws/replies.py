"""The replies to clients' commands, checked against the log.

A reply holds for the log at some moment between the command and the reply. So an acknowledged
command has its effect in the log by then, a refusal was true then, and a refused command has
appended nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from agentws.protocol.codec import Record
from agentws.protocol.position import parse_position
from agentws.testing.connect import Frame
from agentws.testing.laws import Moment, moments

EFFECTS = {
    "send": {"message.accepted"},
    "withdraw": {"message.withdrawn"},
    "edit_queued": {"message.edited"},
    "promote": {"message.promoted"},
    "cancel": {"message.withdrawn", "run.cancelling"},
    "answer": {"interrupt.answered"},
    "command": {"history.cleared"},
}
"""The events that a frame may append."""
_MAY_CHANGE_NOTHING = frozenset({"cancel", "edit_queued", "promote"})
"""The frames that are accepted although they append nothing, as another one has done the same."""


@dataclass
class Request:
    """One frame of a client, and its reply."""

    client: int
    frame: Frame
    sent_at: int
    """The end of the log when the frame was sent."""
    read_to: int
    """The position up to which its client had read when it sent the frame."""
    reply: Frame | None = None
    """``None`` if the client disconnected before it read one."""
    replied_at: int = 0
    """The end of the log when the reply was read."""

    def __str__(self) -> str:
        said = "nothing" if self.reply is None else str(self.reply)
        return f"{self.sent_at}..{self.replied_at} client {self.client}: {self.frame} -> {said}"

    @property
    def refused(self) -> str | None:
        """The code of the error."""
        if self.reply is None or self.reply["type"] != "error":
            return None
        return str(self.reply["code"])

    @property
    def unknown(self) -> bool:
        return self.refused == "unavailable"

    @property
    def duplicate(self) -> bool:
        return self.reply is not None and bool(self.reply.get("duplicate"))

    @property
    def position(self) -> int:
        """The seq of an acknowledgement's position; 0 without one."""
        if self.reply is None or "position" not in self.reply:
            return 0
        return parse_position(self.reply["position"]).seq


class Account:
    """The log and the requests of one episode, to be checked against each other."""

    def __init__(
        self, records: Sequence[Record], requests: Sequence[Request], *, max_queued: int
    ) -> None:
        self.moments = moments(records)
        self.bodies: list[dict[str, Any]] = [{}]
        self.bodies += [msgspec.json.decode(record.data) for record in records]
        self.requests = requests
        self._max_queued = max_queued

    # Acknowledged

    def without_effect(self) -> Iterator[str]:
        """Commands that were acknowledged and whose effect is not in the log."""
        for one in self.requests:
            if one.reply is not None and one.refused is None and not self._has_effect(one):
                yield f"acknowledged without effect: {one}"

    def _has_effect(self, one: Request) -> bool:
        first = 0 if one.duplicate else one.sent_at
        if self._own(one) and first < one.position <= one.replied_at:
            return self._meant(one) or self._of_another(one)
        if one.frame["type"] in ("edit_queued", "promote"):
            return self._changes_nothing(one)
        # A cancel without anything to cancel, or after its target has ended, is acknowledged too.
        return one.frame["type"] == "cancel" and self._idle(one)

    def _changes_nothing(self, one: Request) -> bool:
        """Whether an edit or a promotion asked for what was so already."""
        id = one.frame["message"]
        for at in range(one.sent_at, one.replied_at + 1):
            queue, content = self.moments[at].queue, one.frame.get("content")
            wanted = queue[:1] == (id,) if content is None else content == self._content(id, at)
            if wanted and id in queue:
                return True
        return False

    def _content(self, id: str, until: int) -> Any:
        """The content of a message as of that moment."""
        for body in reversed(self.bodies[1 : until + 1]):
            event = body["event"]
            if event["type"] in ("message.accepted", "message.edited"):
                if event["message"]["id"] == id:
                    return event["message"]["content"]
        return None

    def _at(self, one: Request) -> int:
        """The seq of the event at the acknowledged position.

        The outcome of a message that no run can take is in the same append, behind it.
        """
        at = one.position
        event = self.bodies[at].get("event", {}) if at < len(self.bodies) else {}
        paired = one.frame["type"] == "send" and event.get("type") == "message.steered"
        return at - 1 if paired else at

    def _meant(self, one: Request) -> bool:
        """Whether a cancel without a target has stopped what was active when it was sent."""
        if one.frame["type"] != "cancel" or len(one.frame) > 2:
            return True
        hit, before = self.bodies[one.position], self.moments[one.position - 1]
        targets = {hit.get("run"), before.message, hit["event"].get("messageId"), None}
        return any(current(now) in targets for now in self.moments[one.read_to : one.sent_at + 1])

    def _of_another(self, one: Request) -> bool:
        """Whether another cancel may have appended the event of this acknowledgement."""
        return any(
            other is not one
            and other.frame["type"] == "cancel"
            and (other.reply is None or other.unknown or other.position == one.position)
            for other in self.requests
        )

    def _idle(self, one: Request) -> bool:
        """Whether a cancel had nothing to cancel."""
        target = one.frame.get("run") or one.frame.get("message")
        if target is not None:
            return self._ever(one, lambda now: not is_open(target, now))
        # Without a target it means the run that its client saw, never the next one.
        within = self.moments[one.read_to : one.replied_at + 1]
        for at, now in enumerate(within):
            meant = current(now)
            if meant is None or any(not is_open(meant, later) for later in within[at:]):
                return True
        return False

    def _own(self, one: Request) -> bool:
        """Whether the event at the acknowledged position is what the frame asks for."""
        if not 0 < one.position < len(self.bodies):
            return False
        at = self._at(one)
        body, frame = self.bodies[at], one.frame
        event, before = body["event"], self.moments[at - 1]
        match frame["type"], event["type"]:
            case "send", "message.accepted":
                return same_message(frame, event)
            case "answer", "interrupt.answered":
                return same_answer(frame, event)
            case "withdraw", "message.withdrawn":
                mine = event["reason"] == "withdrawn"
                return mine and bool(event["messageId"] == frame["message"])
            case "cancel", "message.withdrawn":
                id, mine = event["messageId"], event["reason"] == "cancelled"
                return mine and frame.get("message", id) == id and "run" not in frame
            case "cancel", "run.cancelling":
                target = frame.get("run") or frame.get("message")
                return target in (None, body["run"], before.message, *before.taken)
            case "edit_queued", "message.edited":
                return same_edit(frame, event)
            case "promote", "message.promoted":
                return bool(event["messageId"] == frame["message"])
            case "command", "history.cleared":
                return True
        return False

    def doubled(self) -> Iterator[str]:
        """Events that were acknowledged to two commands, neither as a duplicate."""
        owners: dict[int, Request] = {}
        for one in self.requests:
            # A command that changes nothing is acknowledged with the head of the log, which may be
            # the event of another one that asked for the same.
            if one.frame["type"] in _MAY_CHANGE_NOTHING or one.duplicate or not self._own(one):
                continue
            first = owners.setdefault(self._at(one), one)
            if first is not one:
                yield f"both appended {one.position}: {first} and {one}"

    # Refused

    def without_cause(self) -> Iterator[str]:
        """Refusals of commands that the log allowed at every moment up to the reply."""
        for one in self.requests:
            if one.refused is not None and not self._justified(one, one.refused):
                yield f"refused without cause: {one}"

    def _justified(self, one: Request, code: str) -> bool:
        frame, kind = one.frame, one.frame["type"]
        match kind, code:
            case _, "conflict" | "unavailable":
                # Version conflicts until its deadline, or a failure of the store.
                return one.reply is not None and bool(one.reply["retryable"])
            case "send", "idempotency_conflict":
                known = self._accepted(frame["id"], one.replied_at)
                return known is not None and not same_message(frame, known)
            case "send", "run_active":
                wanted = frame.get("overlap") == "reject"
                open = self._no_room(one, lambda now: not now.settled)
                return wanted and self._late(one) and open
            case "send", "queue_full":
                full = self._no_room(one, lambda now: len(now.queue) >= self._max_queued)
                return self._late(one) and full
            case "withdraw", "not_found":
                return self._ever(one, lambda now: frame["message"] not in now.queue)
            case "edit_queued" | "promote", "not_found":
                id = frame["message"]
                return self._ever(one, lambda now: id not in now.queue or id in now.steering)
            case "answer", "not_found":
                return self._ever(one, lambda now: frame["interrupt"] not in now.interrupts)
            case "answer", "already_answered":
                return any(
                    event["interruptId"] == frame["interrupt"] and not same_answer(frame, event)
                    for event in self._events("interrupt.answered", one.replied_at)
                )
            case "command", "run_active":
                return self._ever(one, lambda now: bool(now.run or now.queue))
        return False

    def _ever(self, one: Request, true: Callable[[Moment], bool]) -> bool:
        """Whether the condition held at some moment between the command and the reply."""
        return any(map(true, self.moments[one.sent_at : one.replied_at + 1]))

    def _no_room(self, one: Request, true: Callable[[Moment], bool]) -> bool:
        """The same for a send. Messages that were pending at that time may count, too."""
        entering = [
            other.position
            for other in self.requests
            if other.frame["type"] == "send" and other.sent_at <= one.replied_at < other.position
        ]
        return any(map(true, self.moments[one.sent_at : max([one.replied_at, *entering]) + 1]))

    def _late(self, one: Request) -> bool:
        """Whether a send is new, and no resend of an accepted message."""
        known = self._accepted(one.frame["id"], one.sent_at)
        return known is None or not same_message(one.frame, known)

    def _accepted(self, id: str, until: int) -> dict[str, Any] | None:
        accepted = self._events("message.accepted", until)
        return next((event for event in accepted if event["message"]["id"] == id), None)

    def _events(self, type: str, until: int) -> Iterator[dict[str, Any]]:
        for body in self.bodies[1 : until + 1]:
            if body["event"]["type"] == type:
                yield body["event"]

    # Leftovers

    def unowned(self) -> Iterator[str]:
        """Events without an acknowledged command: a refused command has left something."""
        owned = {self._at(one) for one in self.requests if one.refused is None}
        # A call of the store that failed may have had its effect.
        lost = [one.frame for one in self.requests if one.reply is None or one.unknown]
        for seq, body in enumerate(self.bodies[1:], start=1):
            event = body["event"]
            mine = [frame for frame in lost if could_be(frame, event)]
            if any(event["type"] in some for some in EFFECTS.values()):
                if seq not in owned and not mine:
                    yield f"no command was acknowledged with {body} at {seq}"


def current(now: Moment) -> str | None:
    """The target of a cancel without one: the active run, or the next queued message."""
    return now.run or next(iter(now.queue), None)


def is_open(target: str, now: Moment) -> bool:
    """Whether the message is queued, or its run (or that of this id) active and not cancelled."""
    hit = target in (now.run, now.message, *now.taken)
    return target in now.queue or (hit and not now.stopping)


def same_message(frame: Frame, event: dict[str, Any]) -> bool:
    message = event["message"]
    said = frame["id"], frame["content"], frame.get("overlap", "queue")
    return bool(said == (message["id"], message["content"], event["overlap"]))


def same_edit(frame: Frame, event: dict[str, Any]) -> bool:
    said = event["message"]["id"], event["message"]["content"]
    return bool(said == (frame["message"], frame["content"]))


def same_answer(frame: Frame, event: dict[str, Any]) -> bool:
    said = frame["interrupt"], frame.get("payload")
    return bool(said == (event["interruptId"], event.get("payload")))


def could_be(frame: Frame, event: dict[str, Any]) -> bool:
    """Whether the event may come from a frame whose reply was not read."""
    if event["type"] not in EFFECTS[frame["type"]]:
        return False
    match frame["type"]:
        case "send":
            return same_message(frame, event)
        case "answer":
            return same_answer(frame, event)
        case "edit_queued":
            return same_edit(frame, event)
        case "withdraw" | "promote":
            return bool(frame["message"] == event["messageId"])
        case _:
            return True
