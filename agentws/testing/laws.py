"""The rules (laws) of a session's commands, checked against its log alone.

A command is decided against the log that it is appended to, so every event must be allowed by the
events before it. :func:`violations` returns those that are not; :func:`moments` returns what was
open after each event. Both need the whole log, before compaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.codec import Envelope, Record, decode_record

__all__ = ["NOTHING", "Moment", "Violation", "moments", "violations"]


class Violation(NamedTuple):
    """An event that the log before it does not allow."""

    law: str
    seq: int
    what: str

    def __str__(self) -> str:
        return f"{self.law}: {self.what} at {self.seq}"


class Moment(NamedTuple):
    """What is open in a session after an event of its log."""

    queue: tuple[str, ...] = ()
    """Ids of the queued messages, in the order in which they will run."""
    run: str | None = None
    message: str | None = None
    """The id of the message that the run answers; ``None`` for one that resumes interrupts."""
    stopping: bool = False
    """Whether a stop was requested: by a cancel, or by a message that interrupts the run."""
    interrupts: frozenset[str] = frozenset()
    """Ids of open interrupts (questions)."""
    answers: frozenset[str] = frozenset()
    """Ids of answered interrupts that no run has resumed yet."""
    steering: tuple[str, ...] = ()
    """Ids of the queued messages that the active run may take, the oldest first."""
    taken: frozenset[str] = frozenset()
    """Ids of the steering messages that the active run has taken."""
    owed: frozenset[str] = frozenset()
    """Ids of the queued messages that no run took, and whose ``message.steered`` is to follow."""
    asked: tuple[tuple[str, str], ...] = ()
    """The run that asked each interrupt, by id."""

    @property
    def resumable(self) -> bool:
        """Whether every interrupt of a run was answered: the next run resumes that one."""
        return bool(self.resumptions)

    @property
    def resumptions(self) -> set[frozenset[str]]:
        """The answers with which a run may resume: all those to the questions of one run."""
        asked = dict(self.asked)
        runs = {asked[id] for id in self.answers} - {asked[id] for id in self.interrupts}
        return {frozenset(id for id in self.answers if asked[id] == run) for run in runs}

    @property
    def settled(self) -> bool:
        """Whether no run is active and none is due."""
        return self.run is None and not self.queue and not self.resumable


NOTHING: Final = Moment()


def moments(records: Sequence[Record]) -> list[Moment]:
    """What is open in the empty log, and then after each event."""
    found = [NOTHING]
    for record in records:
        found.append(_after(found[-1], decode_record(record.data)))
    return found


def violations(
    records: Sequence[Record], *, max_queued: int | None = None, ended: bool = True
) -> list[Violation]:
    """Every event that the log before it does not allow, in the log's order.

    ``max_queued`` is the limit of the queue. ``ended``: whether nothing may be open at the end.
    """
    checker = _Checker(max_queued)
    for record in records:
        checker.read(record.seq, decode_record(record.data))
    if ended and not checker.now.settled:
        checker.found.append(
            Violation("everything ends", checker.seq, f"still open: {checker.now}")
        )
    return checker.found


def _after(now: Moment, body: Envelope) -> Moment:
    match body.event:
        case e.MessageAccepted(message=message, overlap="interrupt"):
            queue = (message.id, *now.queue)
            return now._replace(queue=queue, stopping=now.run is not None)
        case e.MessageAccepted(message=message, overlap="steer"):
            return _steer(now, message.id)
        case e.MessageAccepted(message=message):
            return now._replace(queue=(*now.queue, message.id))
        case e.MessageWithdrawn(message_id=id):
            return _unqueue(now, id)
        case e.MessageSteered(message_id=id, outcome="delivered"):
            return _unqueue(now, id)._replace(taken=now.taken | {id})
        case e.MessageSteered(message_id=id) if id in now.steering:
            freed = _unqueue(now, id)
            return freed._replace(queue=(*freed.queue, id))
        case e.MessageSteered(message_id=id):
            return now._replace(owed=now.owed - {id})
        case e.MessagePromoted(message_id=id) if id in now.queue:
            return now._replace(queue=(id, *_without(now.queue, (id,))))
        case e.RunStarted(run_id=run) as started:
            asked = _asked(started)
            first = asked[0] if asked else None
            return now._replace(
                queue=_without(now.queue, asked),
                run=run,
                message=first,
                stopping=False,
                answers=now.answers - _resumed(started),
                owed=now.owed - set(asked),
            )
        case e.RunCancelling() if body.run == now.run:
            return now._replace(stopping=now.run is not None)
        case e.RunFinished(outcome=outcome):
            questions = outcome.interrupts if isinstance(outcome, m.InterruptOutcome) else []
            return _ended(now, by=body.run or "", questions=[one.id for one in questions])
        case e.RunError():
            return _ended(now)
        case e.InterruptAnswered(interrupt_id=id) if id in now.interrupts:
            return now._replace(interrupts=now.interrupts - {id}, answers=now.answers | {id})
        case e.HistoryCleared():
            return now._replace(interrupts=frozenset(), answers=frozenset())
        case e.HistoryBranched(interrupts=gone):
            return now._replace(
                interrupts=now.interrupts.difference(gone), answers=now.answers.difference(gone)
            )
        case _:
            return now


def _steer(now: Moment, id: str) -> Moment:
    """It waits at the front, behind earlier ones, for a run that may take it."""
    if now.run is None or now.stopping:
        return now._replace(queue=(*now.queue, id), owed=now.owed | {id})
    at = max((now.queue.index(one) + 1 for one in now.steering), default=0)
    queue = (*now.queue[:at], id, *now.queue[at:])
    return now._replace(queue=queue, steering=(*now.steering, id))


def _unqueue(now: Moment, id: str) -> Moment:
    queue, steering = _without(now.queue, (id,)), _without(now.steering, (id,))
    return now._replace(queue=queue, steering=steering, owed=now.owed - {id})


def _without(queue: tuple[str, ...], ids: Sequence[str]) -> tuple[str, ...]:
    return tuple(id for id in queue if id not in ids)


def _ended(now: Moment, *, by: str = "", questions: Sequence[str] = ()) -> Moment:
    asked = {**dict(now.asked), **dict.fromkeys(questions, by)}
    return Moment(
        now.queue,
        interrupts=now.interrupts.union(questions),
        answers=now.answers,
        asked=tuple(asked.items()),
        owed=now.owed | set(now.steering),
    )


def _asked(started: e.RunStarted) -> list[str]:
    return [one.id for one in started.input.messages] if started.input else []


def _resumed(started: e.RunStarted) -> frozenset[str]:
    resume = started.input.resume if started.input else None
    entries = resume if isinstance(resume, list) else []
    return frozenset(one.interrupt_id for one in entries)


class _Checker:
    """Checks each event of a log against the events before it."""

    def __init__(self, max_queued: int | None) -> None:
        self.now = NOTHING
        self.seq = 0
        self.found: list[Violation] = []
        self._max_queued = max_queued
        self._accepted: set[str] = set()
        self._withdrawn: set[str] = set()
        self._answered: set[str] = set()
        """Ids of messages with which a run began, or which it took."""
        self._messages: dict[str, m.UserMessage] = {}
        self._begun: set[str] = set()
        self._branches: set[str] = set()
        self._stopped: set[str | None] = set()
        self._again: int | None = None
        """The attempt that a lost run said would follow, until its message is accepted again."""

    def read(self, seq: int, body: Envelope) -> None:
        self.seq = seq
        for law, what in self._broken(body):
            self.found.append(Violation(law, seq, what))
        self.now = _after(self.now, body)

    def _broken(self, body: Envelope) -> Iterator[tuple[str, str]]:
        match body.event:
            case e.MessageAccepted() as accepted:
                yield from self._accept(accepted)
            case e.MessageWithdrawn(message_id=id):
                yield from self._withdraw(id)
            case e.MessageSteered() as steered:
                yield from self._steer(steered, body.run)
            case e.MessageEdited(message=message):
                yield from self._change(message.id)
                self._messages[message.id] = message
            case e.MessagePromoted(message_id=id):
                yield from self._change(id)
            case e.RunStarted() as started:
                yield from self._start(started, body.run)
            case e.RunCancelling():
                yield from self._cancel(body.run)
            case e.RunFinished() | e.RunError() as end:
                yield from self._end(end, body.run)
            case e.InterruptAnswered(interrupt_id=id):
                if id not in self.now.interrupts:
                    yield "only an open question is answered", f"{id} was answered"
            case e.HistoryCleared():
                if self.now.run is not None or self.now.queue:
                    yield (
                        "the history is cleared only while nothing is open",
                        f"cleared during {self.now}",
                    )
            case e.HistoryBranched() as branched:
                yield from self._branch(branched)
            case _:
                if body.run is not None and body.run != self.now.run:
                    yield (
                        "a run appends only between its start and its end",
                        f"an event of {body.run} during {self.now}",
                    )

    def _accept(self, event: e.MessageAccepted) -> Iterator[tuple[str, str]]:
        id = event.message.id
        if id in self._accepted:
            yield "a message is accepted once", f"{id} again"
        if event.attempt is not None:
            if event.attempt.number != self._again:
                yield "an attempt follows a lost run", f"{id} again, after {self._again}"
            self._again = None
        elif self._max_queued is not None and len(self.now.queue) >= self._max_queued:
            yield "the queue is bounded", f"{id} is one more than {self._max_queued}"
        if event.overlap == "reject" and not self.now.settled:
            yield (
                "overlap reject is accepted only while nothing is open",
                f"{id} was accepted during {self.now}",
            )
        self._accepted.add(id)
        self._messages[id] = event.message

    def _steer(self, event: e.MessageSteered, run: str | None) -> Iterator[tuple[str, str]]:
        id, now = event.message_id, self.now
        if id not in (*now.steering, *now.owed):
            yield "a steering message has one outcome", f"{id} had none to get during {now}"
        elif event.outcome == "delivered":
            if id not in now.steering or run != now.run or now.stopping:
                yield "a run takes messages that steer it", f"{run} took {id} during {now}"
            self._answered.add(id)

    def _change(self, id: str) -> Iterator[tuple[str, str]]:
        if id not in self.now.queue or id in self.now.steering:
            yield "only a queued message is edited or promoted", f"{id} during {self.now}"

    def _branch(self, event: e.HistoryBranched) -> Iterator[tuple[str, str]]:
        undone = event.left not in event.branches
        allowed = undone or self.now.settled or self._again is not None
        if self.now.run is not None or not allowed:
            yield (
                "the conversation branches only while nothing is open",
                f"it branched during {self.now}",
            )
        if undone and event.replaced not in self._withdrawn:
            yield (
                "a branch goes away only with the message that it would begin with",
                f"{event.left} went away",
            )
        if not undone and event.replaced not in self._answered:
            yield "only an answered message is replaced", f"{event.replaced} was replaced"
        if not event.hidden[0] <= event.hidden[1] < self.seq:
            yield "only what is in the log goes out of view", f"{event.hidden} went out of view"
        if undone and event.replaced == event.message_id:
            # What is in view is its earlier answer.
            self._answered.add(event.message_id)
            self._withdrawn.discard(event.message_id)
        new = event.branch not in self._branches
        self._branches.update((event.left, event.branch))
        if new and event.replaced == event.message_id:
            # It is accepted and answered again.
            for known in (self._accepted, self._answered, self._withdrawn):
                known.discard(event.message_id)

    def _withdraw(self, id: str) -> Iterator[tuple[str, str]]:
        if id in self._answered:
            yield (
                "a message is withdrawn or answered, not both",
                f"{id} was withdrawn after its run began",
            )
        elif id not in self.now.queue:
            yield "only a queued message is withdrawn", f"{id} was withdrawn"
        self._withdrawn.add(id)

    def _start(self, event: e.RunStarted, run: str | None) -> Iterator[tuple[str, str]]:
        now, asked = self.now, _asked(event)
        if self._again is not None:
            yield "an attempt follows a lost run", f"{event.run_id} began before it"
        if run != event.run_id or event.run_id in self._begun:
            yield "a run begins once", f"{event.run_id} began in {run}"
        if now.run is not None:
            yield "one run at a time", f"{event.run_id} began during {now.run}"
        for id in asked:
            if id in self._withdrawn:
                yield (
                    "a message is withdrawn or answered, not both",
                    f"{id} ran after it was withdrawn",
                )
            elif id in self._answered:
                yield "a message is answered once", f"{id} ran again"
            elif id not in now.queue:
                yield (
                    "a run answers a queued message or open questions",
                    f"{id} ran without having been queued",
                )
            elif event.input is not None and self._messages.get(id) != event.input.messages[0]:
                yield "a run begins with the message as it is in the log", f"{id} was another"
        if now.owed:
            yield "an outcome comes before the next run", f"{sorted(now.owed)} have none"
        if not asked and _resumed(event) not in now.resumptions:
            yield (
                "a run answers a queued message or open questions",
                f"{event.run_id} resumed after {now}",
            )
        elif asked and asked[0] in now.queue[0 if now.resumable else 1 :]:
            yield "runs answer messages in the order of the queue", f"{asked} ran before {now}"
        self._begun.add(event.run_id)
        self._answered.update(asked)

    def _cancel(self, run: str | None) -> Iterator[tuple[str, str]]:
        if run is None or run != self.now.run:
            yield "a stop is requested before the run ends", f"{run} was stopped during {self.now}"
        elif run in self._stopped:
            yield "a run is stopped once", f"{run} again"
        self._stopped.add(run)

    def _end(self, event: e.RunFinished | e.RunError, run: str | None) -> Iterator[tuple[str, str]]:
        if run is None or run != self.now.run:
            yield "a run ends once", f"{run} ended during {self.now}"
            return
        self._again = m.told_in(event.metadata).get("nextAttempt")
        if self._again is not None and self.now.stopping:
            yield "a cancel comes before another attempt", f"{run} was to stop"
        cancelled = isinstance(event, e.RunFinished) and isinstance(
            event.outcome, m.CancelledOutcome
        )
        if cancelled and not self.now.stopping:
            yield (
                "a run is cancelled only after a request",
                f"{run} was cancelled without a request",
            )
