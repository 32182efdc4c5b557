"""The check of histories finds each kind of violation."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.codec import Record, encode_event, event_frames, extend
from agentws.protocol.position import GENESIS, Position
from agentws.testing.history import ClientHistory, check_history, check_strangers

EMPTY = Position("e", 0, GENESIS)


def accepted(id: str) -> bytes:
    return encode_event(e.MessageAccepted(m.UserMessage(id, f"question {id}"), "queue"))


def run(id: str, message: str, *pieces: str, ends: bool = True) -> list[bytes]:
    asked = m.RunAgentInput("t", id, [m.UserMessage(message, f"question {message}")])
    events: list[e.Event] = [
        e.RunStarted("t", id, None, None, asked),
        e.TextMessageStart(f"{id}_1"),
        *(e.TextMessageContent(message_id=f"{id}_1", delta=piece) for piece in pieces),
        e.TextMessageEnd(f"{id}_1"),
    ]
    if ends:
        events.append(e.RunFinished("t", id))
    return [encode_event(event, run=id) for event in events]


def log(*datas: bytes) -> list[Record]:
    return extend(EMPTY, datas)


RECORDS = log(accepted("m1"), *run("run_1", "m1", "a: one", "a: two"))


def welcome(resume: str = "new", **members: str) -> dict[str, Any]:
    return {"type": "welcome", "head": str(EMPTY), "resume": resume, **members}


def history(records: list[Record] = RECORDS, **members: str) -> ClientHistory:
    """A client that sent m1 and read all of ``records``."""
    one = ClientHistory("one")
    one.wrote('{"type":"send","id":"m1","content":"question m1"}')
    one.wrote('{"type":"cancel","id":"c1"}')
    one.frames.append(welcome(**members))
    one.read(b"[%b]" % b",".join(event_frames("e", records)))
    position = str(Position("e", RECORDS[0].seq, RECORDS[0].tag))
    one.read(json.dumps({"type": "accepted", "reply": "m1", "position": position}))
    return one


def test_a_client_that_saw_everything_agrees_with_the_log() -> None:
    checked = check_history("e", RECORDS, [history()], writer=writer)
    assert checked == (7, 1, frozenset())
    assert [one.kind for one in history().seen][:2] == ["message.accepted", "RUN_STARTED"]


def writer(event: dict[str, Any]) -> str | None:
    return str(event["delta"])[0] if "delta" in event else None


def without(at: int) -> Callable[[ClientHistory], None]:
    return lambda one: one.frames.__delitem__(at)


def changed(at: int, **members: Any) -> Callable[[ClientHistory], None]:
    return lambda one: one.frames[at].update(members)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (without(3), "a gap"),
        (lambda one: one.frames.insert(3, one.frames[2]), "again"),
        (changed(3, id=f"e.3.{'0' * 16}"), "another event"),
        (changed(3, id=f"f.3.{'0' * 16}"), "another log"),
        (without(-2), "saw the log to 6 of 7"),
        (changed(-1, position=f"e.2.{RECORDS[1].tag}"), "was acknowledged at"),
        (lambda one: one.frames.append(welcome("snapshot", reason="diverged")), "losses"),
    ],
)
def test_what_a_client_saw_must_be_the_log(
    break_it: Callable[[ClientHistory], None], message: str
) -> None:
    one = history()
    break_it(one)
    with pytest.raises(AssertionError, match=message):
        check_history("e", RECORDS, [history(), one])


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (log(), "not in the log"),
        (log(accepted("m1"), *RECORDS[1].data.splitlines()), "never ended"),
        (log(accepted("m1"), accepted("m1"), *run("run_1", "m1", "a: x")), "accepted twice"),
        (log(accepted("m1")), "never answered"),
        (log(accepted("m1"), *run("run_1", "m1", "a: x", "b: y")), "was written by b"),
        (log(accepted("m1"), *run("r", "m1"), *run("r", "m1")[-1:]), "RUN_FINISHED"),
    ],
)
def test_the_log_must_keep_its_promises(records: list[Record], message: str) -> None:
    one = history()
    del one.frames[1:-1]
    with pytest.raises(AssertionError, match=message):
        check_history("e", records, [one], writer=writer)


def test_two_acknowledgements_of_one_message_must_name_one_position() -> None:
    other = history()
    other.frames[-1]["position"] = f"e.2.{RECORDS[1].tag}"
    with pytest.raises(AssertionError, match="acknowledged at"):
        check_history("e", RECORDS, [history(), other])


def test_what_a_store_may_lose_is_counted_if_its_clients_were_told() -> None:
    kept = log(accepted("m2"), *run("run_2", "m2", "a: x"))
    one = history()
    one.frames.append(welcome("snapshot", reason="diverged"))
    snapshot = {"type": "MESSAGES_SNAPSHOT", "messages": []}
    one.frames.append({"id": str(EMPTY), "event": snapshot})
    one.read(b"[%b]" % b",".join(event_frames("e", kept)))
    checked = check_history("e", kept, [one], may_lose=True)
    assert checked.lost == {"m1"}
    with pytest.raises(AssertionError):
        check_history("e", kept, [history()], may_lose=True)


def stranger(*frames: dict[str, Any]) -> ClientHistory:
    """A client that was refused, and then read ``frames``."""
    one = ClientHistory("stranger")
    one.read(b'{"type":"bye","code":4403,"reason":"forbidden","retryable":false}')
    one.answered(403, b'{"code":"forbidden","message":"This session is not yours."}')
    one.frames += frames
    return one


def test_a_stranger_that_was_refused_every_time_saw_nothing() -> None:
    assert check_strangers([stranger(), stranger()]) == 4


@pytest.mark.parametrize(
    "frame",
    [
        welcome(),
        history().frames[1],
        {"type": "accepted", "reply": "m1", "position": "e.1.0"},
        {"type": "text", "content": "a: one"},
        {"type": "answer", "status": 200, "body": "[]"},
    ],
)
def test_a_stranger_that_is_shown_anything_is_found(frame: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="stranger was shown"):
        check_strangers([stranger(), stranger(frame)])


def test_a_stranger_that_was_never_answered_proves_nothing() -> None:
    with pytest.raises(AssertionError, match="never answered"):
        check_strangers([ClientHistory("nobody")])
