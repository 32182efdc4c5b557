"""The branches of a conversation: which ranges of the log are out of view, and what can come back.

The log stays linear. To answer a message again, or to edit it, takes the end of the conversation
out of view, from that message on: a range of the log. What follows is another branch. Going back
to a branch brings its ranges back. Runs never overlap, so a range holds whole runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from . import messages as m
from .events import HistoryBranched
from .ranges import Ranges, cut, join

REMEMBERED: Final = 100
"""How many branches out of view a session keeps. Of more, the one that left first is forgotten.

It follows from the log alone, so that it is the same on every node. Therefore it is no setting.
"""
MARK: Final = "branches"
"""The member of a user message's ``metadata.agentws`` that names the branches at its place."""
_OURS: Final = "agentws"


class Branch(msgspec.Struct, frozen=True, omit_defaults=True):
    """One way in which the conversation goes on from a fork."""

    id: str
    message: str
    """The id of the user message that it begins with."""
    start: int
    """The seq from which on the log belongs to it, while it is in view."""
    ranges: Ranges = ()
    """What comes back into view with it; empty while it is in view."""

    @property
    def left(self) -> int:
        """The seq up to which it was in view; 0 while it is."""
        return self.ranges[-1][1] if self.ranges else 0


class Fork(msgspec.Struct, frozen=True):
    """A place in the conversation that has several branches."""

    branches: tuple[Branch, ...]
    """In the order in which they began."""
    current: str
    """The id of the branch that is in view, whenever the place is."""

    @property
    def in_view(self) -> Branch:
        return next(one for one in self.branches if one.id == self.current)

    @property
    def previous(self) -> Branch | None:
        """The branch that was in view before the current one."""
        others = [one for one in self.branches if one.id != self.current]
        return max(others, key=lambda one: one.left, default=None)

    @property
    def ids(self) -> list[str]:
        return [one.id for one in self.branches]


class Branches(msgspec.Struct, frozen=True, omit_defaults=True):
    """The branches of a session; :data:`UNBRANCHED` where the conversation never branched."""

    hidden: Ranges = ()
    """What is out of view, also of forgotten branches."""
    forks: tuple[Fork, ...] = ()

    def fork_at(self, message: str) -> Fork | None:
        """The fork with a branch that begins with this message."""
        return self._fork(lambda one: one.message == message)

    def fork_with(self, branch: str) -> Fork | None:
        return self._fork(lambda one: one.id == branch)

    def _fork(self, wanted: Callable[[Branch], bool]) -> Fork | None:
        return next((fork for fork in self.forks if any(map(wanted, fork.branches))), None)

    def after(self, event: HistoryBranched) -> Branches:
        """The branches after ``event``. Never raises for an event that may be in a log."""
        gone = cut((event.hidden,), self.hidden)
        known = self.fork_at(event.replaced)
        fork = known or Fork((Branch(event.left, event.replaced, event.hidden[0]),), event.left)
        if event.branch not in fork.ids:
            begun = Branch(event.branch, event.message_id, event.hidden[1] + 1)
            fork = Fork((*fork.branches, begun), event.left)
        moved: list[Branch] = []
        shown: Ranges = ()
        for one in fork.branches:
            if one.id == event.branch:
                shown = one.ranges
                one = _at(one, shown[0][0] if shown else one.start, ())
            elif one.id == event.left:
                one = _at(one, one.start, gone)
            if one.id in event.branches or one.id == event.branch:
                moved.append(one)
        others = tuple(one for one in self.forks if one is not known)
        forks = _remembered((*others, Fork(tuple(moved), event.branch)))
        return Branches(join(cut(self.hidden, shown), gone), forks)

    def marked(self, messages: list[m.Message]) -> list[m.Message]:
        """``messages`` of the conversation in view, each with the branches at its place."""
        if not self.hidden:
            return messages
        marks = {fork.in_view.message: mark(fork.current, fork.ids) for fork in self.forks}
        return [_with_mark(one, marks) for one in messages]


UNBRANCHED: Final = Branches()


def forgotten_at(
    before: Branches, after: Branches, event: HistoryBranched
) -> dict[str, dict[str, Any] | None]:
    """The marks of other places that have lost branches by ``event``, by the message in view there.

    ``None`` where only one branch is left. Its own place is in the event.
    """
    now = {fork.current: fork for fork in after.forks}
    found: dict[str, dict[str, Any] | None] = {}
    for fork in before.forks:
        left = now.get(fork.current)
        own = event.left in fork.ids or event.branch in fork.ids
        if not own and (left is None or left.ids != fork.ids):
            found[fork.in_view.message] = None if left is None else mark(left.current, left.ids)
    return found


def mark(current: str, ids: Sequence[str]) -> dict[str, Any]:
    """What ``metadata.agentws.branches`` is: the ids, and the index of the one in view."""
    return {"current": list(ids).index(current), "ids": list(ids)}


def with_mark(message: m.UserMessage, branches: dict[str, Any] | None) -> m.UserMessage:
    """``message`` with these branches in its metadata; ``None`` removes those that it names."""
    metadata = dict(message.metadata or {})
    ours = metadata.pop(_OURS, None)
    kept = (
        {name: value for name, value in ours.items() if name != MARK}
        if isinstance(ours, dict)
        else {}
    )
    if branches is not None:
        kept[MARK] = branches
    if kept:
        metadata[_OURS] = kept
    return msgspec.structs.replace(message, metadata=metadata or None)


def _with_mark(message: m.Message, marks: Mapping[str, dict[str, Any]]) -> m.Message:
    if not isinstance(message, m.UserMessage):
        return message
    found = marks.get(message.id)
    ours = (message.metadata or {}).get(_OURS)
    marked = isinstance(ours, dict) and MARK in ours
    return with_mark(message, found) if found or marked else message


def _at(branch: Branch, start: int, ranges: Ranges) -> Branch:
    return msgspec.structs.replace(branch, start=start, ranges=ranges)


def _remembered(forks: tuple[Fork, ...]) -> tuple[Fork, ...]:
    """``forks`` without the branches that are forgotten. A fork has at least two branches."""
    left = sorted(one.left for fork in forks for one in fork.branches if one.left)
    oldest = left[-REMEMBERED] if len(left) > REMEMBERED else 0
    kept = (
        Fork(tuple(one for one in fork.branches if not 0 < one.left < oldest), fork.current)
        for fork in forks
    )
    return tuple(fork for fork in kept if len(fork.branches) > 1)
