"""The test oracle: did every client see the log, all of it, exactly once and in order?

The log in the store is the truth. :func:`check_log` checks the log itself, and
:func:`check_client` that the frames a client read, over all its connections, show that log. Both
raise AssertionError with the first error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from ..protocol.codec import Record
from ..protocol.fold import STATUS_KEY, Fold
from ..protocol.merge import merge
from ..protocol.parts import CUT
from ..protocol.position import Position, parse_position
from ..store import PAGE, Store
from .agui import verify
from .connect import Frame
from .log_check import asked_in, check_log, check_tags

__all__ = ["check_client", "check_log", "check_simple", "check_tags", "read_log"]

TERMINAL: Final = ("RUN_FINISHED", "RUN_ERROR")


async def read_log(store: Store, session: str) -> tuple[str, list[Record]]:
    """The epoch of a session's log, and all its events."""
    head = (await store.head(session)).position
    records: list[Record] = []
    page = await store.read(session)
    while page:
        records += page
        if len(page) < PAGE:
            break
        after = Position(head.epoch, page[-1].seq, page[-1].tag)
        page = await store.read(session, after=after)
    return head.epoch, records


# A client


class SnapshotCheck:
    """Checks the frames of a snapshot other than its messages, against the log up to there.

    What a later event removes may be missing, since others may append while a snapshot is read.
    """

    def __init__(self, fold: Fold, later: Sequence[Record]) -> None:
        self._state = fold.state
        queue = fold.outline.queue.values()
        waiting = [msgspec.structs.replace(one, overlap="queue") for one in queue]
        self._queue = msgspec.to_builtins(waiting)
        self._interrupts = msgspec.to_builtins(list(fold.outline.interrupts.values()))
        events = [msgspec.json.decode(record.data)["event"] for record in later]
        self.cleared = any(one["type"] == "history.cleared" for one in events)
        self._taken = {id for one in events for id in asked_in(one)}
        self._taken |= {one["messageId"] for one in events if one["type"] == "message.withdrawn"}
        self._promoted = {one["messageId"] for one in events if one["type"] == "message.promoted"}
        self._edits = [one["message"] for one in events if one["type"] == "message.edited"]
        self._answered = {
            one["interruptId"] for one in events if one["type"] == "interrupt.answered"
        }

    def check_interrupts(self, shown: list[dict[str, Any]]) -> None:
        for one in shown:
            assert one in self._interrupts, f"a snapshot asks {one}"
        for one in self._interrupts:
            owed = one["id"] not in self._answered and not self.cleared
            assert one in shown or not owed, f"a snapshot without the question {one}"

    def read(self, event: dict[str, Any]) -> None:
        if event["type"] == "STATE_SNAPSHOT":
            assert self._state is not None, "a snapshot has a state, but the log has none"
            assert event["snapshot"] == self._state, f"{self._state} was shown as {event}"
            self._state = None
            return
        assert event["type"] == "message.accepted", f"a snapshot holds {event['type']}"
        at = self._place(event)
        assert at is not None, f"a snapshot has another queue than {event}"
        before = self._queue[:at]
        del self._queue[at]
        if event["message"]["id"] in self._promoted:
            return
        passed = [one for one in before if one["message"]["id"] not in self._promoted]
        self._skip(passed)
        self._queue = [one for one in self._queue if one not in passed]

    def _place(self, event: dict[str, Any]) -> int | None:
        """Where the log has this message in the queue, as it was or as it was edited since."""
        for at, one in enumerate(self._queue):
            if one["message"]["id"] == event["message"]["id"]:
                edited = event["message"] in self._edits
                shown = {**one, "message": event["message"]} if edited else one
                return at if event == shown else None
        return None

    def check_whole(self) -> None:
        assert self._state is None, f"a snapshot without the state {self._state}"
        self._skip(self._queue)

    def _skip(self, queued: list[dict[str, Any]]) -> None:
        for one in queued:
            assert one["message"]["id"] in self._taken, f"a snapshot without the queued {one}"


class Reader:
    """Checks the frames that one client read against the log."""

    def __init__(self, epoch: str, records: Sequence[Record]) -> None:
        self._epoch = epoch
        self._records = records
        self._at = {record.seq: index for index, record in enumerate(records)}
        self.seq = 0
        """The seq up to which the client has read the log."""
        self._snapshot: Position | None = None
        self._rest: SnapshotCheck | None = None
        self._welcomed = False
        self.events: list[tuple[str | None, dict[str, Any]]] = []
        """The run and event of everything since the last snapshot, or since the beginning."""

    def read(self, frame: Frame) -> None:
        """Checks the next frame. Raises AssertionError."""
        if "topic" in frame:
            return  # of another log
        if "event" in frame:
            assert self._welcomed, "an event before the welcome"
            self._event(frame)
        elif frame["type"] == "welcome":
            self._welcome(frame)

    def _welcome(self, frame: Frame) -> None:
        head = parse_position(frame["head"])
        assert head.epoch == self._epoch, "the welcome is of another log"
        self._index(head)
        self._welcomed = True
        self._rest = None
        match frame["resume"]:
            case "new":
                assert self.seq == 0, "a known session was reported as new"
                self._snapshot = None
            case "replay":
                assert "reason" not in frame
                self._snapshot = None
            case "snapshot":
                assert frame["reason"], "a snapshot without a reason"
                self._snapshot = Position(self._epoch, -1, "")
            case other:
                raise AssertionError(f"resume is {other!r}")

    def _event(self, frame: Frame) -> None:
        position, event, run = parse_position(frame["id"]), frame["event"], frame.get("run")
        assert position.epoch == self._epoch, f"{frame} is of another log"
        if self._snapshot is not None and self._snapshot.seq == -1:
            assert event["type"] == "MESSAGES_SNAPSHOT", f"a snapshot began with {event['type']}"
            self._index(position)
            self._snapshot = position
            self.seq = position.seq
            self.events = []
            self._check_snapshot(event)
        elif self._snapshot == position and run is None:
            # The rest of the snapshot: state and queue, all at the same position.
            assert self._rest is not None
            self._rest.read(event)
        else:
            self._snapshot = None
            self.check_snapshot()
            self._check_next(position, event, run)
        self.events.append((run, event))

    def _check_next(self, position: Position, event: dict[str, Any], run: str | None) -> None:
        assert position.seq > self.seq, f"{position} again, after {self.seq}"
        first = self._at[self.seq] + 1 if self.seq else 0
        since = self._records[first : self._index(position) + 1]
        merged = merge(since)
        assert len(merged) == 1, f"a gap: {len(merged)} events from {self.seq} to {position.seq}"
        body = msgspec.json.decode(merged[0].data)
        assert body == _body(event, run), f"{position} is {body}, but was shown as {event}"
        self.seq = position.seq

    def _index(self, position: Position) -> int:
        """The index of ``position`` in the log. Raises AssertionError if it is not in there."""
        if position.seq == 0:
            return -1
        index = self._at.get(position.seq)
        assert index is not None, f"there is no event at {position}"
        assert self._records[index].tag == position.tag, f"another event is at {position}"
        return index

    def _check_snapshot(self, event: dict[str, Any]) -> None:
        end = 0 if self.seq == 0 else self._at[self.seq] + 1
        fold = Fold().apply_all(self._records[:end])
        self._rest = SnapshotCheck(fold, self._records[end:])
        assert fold.outline.run is None, "a snapshot in the middle of a run"
        whole = msgspec.to_builtins(fold.messages)
        shown = event["messages"]
        if any(map(_is_cut, shown)):
            known = {one["id"]: one for one in whole}
            right = all(_is_shown(known[one["id"]], one) for one in shown)
        else:
            right = shown == whole[len(whole) - len(shown) :]
        assert right, f"a snapshot of other messages: {shown}, and the log has {whole}"
        cut = shown != whole
        extras = (event.get("metadata") or {}).get("agentws", {})
        # Messages that were cleared since are on no older page either.
        said = "before" in extras or (not shown and self._rest.cleared)
        assert not cut or said, "a partial snapshot without a link to older pages"
        self._rest.check_interrupts(extras.get("interrupts", []))

    def check_snapshot(self) -> None:
        """Checks that the last snapshot was complete."""
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.check_whole()

    def check_runs(self) -> None:
        """Checks that the events of every run are in AG-UI's order."""
        runs: dict[str, list[dict[str, Any]]] = {}
        for run, event in self.events:
            if run is not None and event["type"].isupper():
                runs.setdefault(run, []).append(event)
        for events in runs.values():
            verify(events)


def _is_cut(shown: dict[str, Any]) -> bool:
    return bool(shown.get("metadata", {}).get(STATUS_KEY, {}).get(CUT))


def _is_shown(whole: dict[str, Any], shown: dict[str, Any]) -> bool:
    """Whether ``shown`` is the message ``whole``, or its end if it is marked as cut."""
    if not _is_cut(shown):
        return whole == shown
    said, end = str(whole.get("content") or ""), str(shown.get("content") or "")
    calls = {call["id"] for call in whole.get("toolCalls", ())}
    return said.endswith(end) and {call["id"] for call in shown.get("toolCalls", ())} <= calls


def check_simple(records: Sequence[Record], frames: Iterable[Frame]) -> None:
    """Checks what one client of the simple wire read, over all its connections.

    Messages must be complete, in order and without duplicates; after the first position that it
    got, none may be missing.
    """
    said = _assistant_texts(records)
    seen: list[int] = []
    first: int | None = None
    for frame in frames:
        if "position" not in frame["metadata"]:
            continue
        seq = parse_position(frame["metadata"]["position"]).seq
        first = seq if first is None else first
        if frame["type"] == "text" and "part" not in frame["metadata"]:
            assert said.get(seq) == frame["content"], f"{said.get(seq)!r} was shown as {frame}"
            seen.append(seq)
        elif frame["type"] == "text" and not frame["metadata"]["more"]:
            assert said[seq].endswith(frame["content"]), f"{frame} is not the end of its message"
            seen.append(seq)
    assert seen == sorted(set(seen)), f"messages out of order or twice: {seen}"
    missed = [seq for seq in said if first is not None and seq > first and seq not in seen]
    assert not missed, f"messages that ended at {missed} were never shown"


def _assistant_texts(records: Sequence[Record]) -> dict[int, str]:
    """The texts of assistants, by the seq of the event that ended each message."""
    texts: dict[str, str] = {}
    said: dict[int, str] = {}
    for record in records:
        event = msgspec.json.decode(record.data)["event"]
        match event["type"]:
            case "TEXT_MESSAGE_START" if event.get("role", "assistant") == "assistant":
                texts[event["messageId"]] = ""
            case "TEXT_MESSAGE_CONTENT" if event["messageId"] in texts:
                texts[event["messageId"]] += event["delta"]
            case "TEXT_MESSAGE_END" if texts.get(event["messageId"]):
                said[record.seq] = texts.pop(event["messageId"])
            case _:
                pass
    return said


def _body(event: dict[str, Any], run: str | None) -> dict[str, Any]:
    return {"event": event} if run is None else {"run": run, "event": event}


def check_client(
    epoch: str, records: Sequence[Record], frames: Iterable[Frame], *, complete: bool = False
) -> Reader:
    """Checks the frames that one client of the native wire read.

    ``complete``: whether it must have read up to the head of the log.
    """
    reader = Reader(epoch, records)
    for frame in frames:
        reader.read(frame)
    reader.check_runs()
    if complete:
        reader.check_snapshot()
        head = records[-1].seq if records else 0
        assert reader.seq == head, f"the client saw the log to {reader.seq} of {head}"
    return reader
