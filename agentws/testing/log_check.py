"""Checks of a log: its tags, its runs, and what became of each message. Part of the test oracle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.codec import Envelope, Record, decode_record
from ..protocol.position import GENESIS, chain
from .agui import runs_of, verify


def check_log(
    records: Sequence[Record], *, accepted: Collection[str] = (), settled: bool = True
) -> None:
    """Checks a log that was not compacted: its tags, its runs and its messages.

    ``accepted`` are the ids of messages that were acknowledged to a client. ``settled``: whether
    every run must have ended, and every message must have been answered or withdrawn.
    """
    check_tags(records)
    bodies = [decode_record(record.data) for record in records]
    for run, events in runs_of(records).items():
        _check_run(run, events, settled=settled)
    events = [msgspec.to_builtins(body.event) for body in bodies]
    taken = Counter(one["message"]["id"] for one in events if one["type"] == "message.accepted")
    asked = Counter(id for one in events for id in (*asked_in(one), *_delivered(one)))
    withdrawn = {one["messageId"] for one in events if one["type"] == "message.withdrawn"}
    again = Counter(_regenerated(events))
    assert all(taken[id] == 1 + again[id] for id in taken), f"accepted twice: {taken}"
    assert all(asked[id] <= taken[id] for id in asked), f"answered twice: {asked}"
    assert asked.keys() <= taken.keys(), f"answered, never asked: {asked.keys() - taken.keys()}"
    _check_stops(bodies)
    lost = set(accepted) - taken.keys()
    assert not lost, f"acknowledged and not in the log: {lost}"
    if settled:
        unanswered = taken.keys() - asked.keys() - withdrawn
        assert not unanswered, f"never answered: {unanswered}"


def check_tags(records: Sequence[Record]) -> None:
    """Checks the hash chain: every event's tag, from the log's beginning on."""
    tag = GENESIS
    for seq, record in enumerate(records, start=1):
        assert record.seq == seq, f"event {seq} has seq {record.seq}"
        tag = chain(tag, seq, record.data)
        assert record.tag == tag, f"the tag of event {seq} does not match the events before it"


def _check_run(run: str, events: list[dict[str, Any]], *, settled: bool) -> None:
    verifier = verify(events)
    assert verifier.terminals <= 1, f"{run} ended {verifier.terminals} times"
    assert verifier.terminals or not settled, f"{run} never ended"
    named = {event["runId"] for event in events if "runId" in event}
    assert named <= {run}, f"{run} holds events of {named}"


def _check_stops(bodies: Iterable[Envelope]) -> None:
    """Every cancelled run was requested to stop, and every stop names a run that began.

    The converse can't be checked: an agent may finish before the stop reaches it, however far
    apart the two are in the log.
    """
    begun: set[str | None] = set()
    taken_back: set[str] = set()
    came: list[str] = []
    interrupting: set[str] = set()
    run, message, stopped = None, None, False
    for body in bodies:
        match body.event:
            case e.RunStarted(input=given):
                begun.add(body.run)
                run, message = body.run, given.messages[0].id if given and given.messages else None
                # A message that interrupts may be in the log before the run that it interrupts.
                later = came[came.index(message) + 1 :] if message in came else []
                stopped = message in taken_back or not interrupting.isdisjoint(later)
                interrupting.discard(message or "")
            case e.RunCancelling():
                assert body.run in begun, f"a cancel of {body.run}, which never began"
                stopped = stopped or body.run == run
            case e.MessageWithdrawn(message_id=id):
                taken_back.add(id)
                interrupting.discard(id)
                stopped = stopped or (run is not None and id == message)
            case e.MessageAccepted(message=asked, overlap=overlap):
                came.append(asked.id)
                if overlap == "interrupt":
                    interrupting.add(asked.id)
                    stopped = stopped or run is not None
            case e.RunFinished(outcome=m.CancelledOutcome()):
                assert stopped, f"{body.run} was cancelled without a request"
                run = None
            case e.RunFinished() | e.RunError():
                run = None
            case _:
                pass


def _regenerated(events: Iterable[dict[str, Any]]) -> list[str]:
    """The ids of messages that were accepted once more, each time, to be answered again."""
    branched = [one for one in events if one["type"] == "history.branched"]
    begun = [one for one in branched if one["left"] in one["branches"]]
    known: set[str] = set()
    found: list[str] = []
    for one in begun:
        if one["branch"] not in known and one["messageId"] == one["replaced"]:
            found.append(one["messageId"])
        known.update((one["left"], one["branch"]))
    return found


def asked_in(event: dict[str, Any]) -> list[str]:
    """The ids of the messages that a run begins with, if ``event`` begins one."""
    if event["type"] != "RUN_STARTED":
        return []
    return [message["id"] for message in event.get("input", {}).get("messages", ())]


def _delivered(event: dict[str, Any]) -> list[str]:
    """The steering message that ``event`` gives to the active run."""
    steered = event["type"] == "message.steered" and event["outcome"] == "delivered"
    return [event["messageId"]] if steered else []
