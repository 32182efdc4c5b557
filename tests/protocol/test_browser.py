"""The browser's fold equals the server's: a live client and one that reloads show the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from agentws.protocol import events as e
from agentws.protocol.codec import Record, decode_record, event_frames, event_type
from agentws.protocol.fold import Fold
from agentws.protocol.outline import Outline
from agentws.protocol.parts import divide
from agentws.protocol.position import Position
from agentws.protocol.snapshots import snapshot_records

from .logs import logs
from .test_branches import Model

FOLD_LOGS = Path(__file__).resolve().parent.parent / "web" / "fold-logs.mjs"
ENDS = ("RUN_FINISHED", "RUN_ERROR")


def some_logs() -> list[list[Record]]:
    """Random logs, the same ones at every call."""
    found: list[list[Record]] = []

    @settings(
        max_examples=300,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(logs())
    def collect(records: list[Record]) -> None:
        found.append(records)

    collect()
    return found


def live(records: list[Record]) -> list[Any]:
    return [json.loads(frame) for frame in event_frames("e", records)]


def queue_before(records: list[Record], at: int) -> list[e.MessageAccepted]:
    """The queue as of then, without what has left it since: as a server shows it."""
    then, now = Outline(), Outline()
    for number, record in enumerate(records, 1):
        body = decode_record(record.data)
        now.apply(body.event, body.run)
        if number <= at:
            then.apply(body.event, body.run)
    return [one for id, one in now.queue.items() if id in then.queue]


def reloaded(records: list[Record], at: int) -> list[Any]:
    """The frames for a page that opens during a run: a snapshot from before it, then the run."""
    fold = Fold().apply_all(records[:at])
    last = records[at - 1]
    snapshot = snapshot_records(
        Position("e", last.seq, last.tag),
        messages=fold.messages,
        state=fold.state,
        queued=queue_before(records, at),
        extras={"title": fold.title},
    )
    return live([*snapshot, *records[at:]])


def paged(records: list[Record], at: int, size: int) -> dict[str, Any]:
    """:func:`reloaded` with only the newest part in the snapshot, and older parts as pages."""
    fold = Fold().apply_all(records[:at])
    last = records[at - 1]
    *older, newest = divide(fold.messages, size, most=1000)
    snapshot = snapshot_records(
        Position("e", last.seq, last.tag),
        messages=newest,
        state=fold.state,
        queued=queue_before(records, at),
        extras={"title": fold.title, "before": len(older)},
    )
    pages = [{"messages": msgspec.to_builtins(part), "before": 1} for part in reversed(older)]
    frames = live([*snapshot, *records[at:]])
    return {"frames": frames, "older": pages}


def in_the_browser(frames: list[Any]) -> Any:
    """The result of the browser's client for each of these logs."""
    node = os.environ.get("AGENTWS_NODE") or shutil.which("node")
    assert node, "there is no Node; set AGENTWS_NODE"
    done = subprocess.run(
        [node, str(FOLD_LOGS)], input=json.dumps(frames), capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_page_shows_the_same_conversation_after_a_reload() -> None:
    cases: list[tuple[list[Any], list[Any]]] = []
    for records in some_logs():
        ends = [at for at, one in enumerate(records, 1) if event_type(one.data) in ENDS]
        cases += [(live(records), reloaded(records, at)) for at in ends]
    assert len(cases) > 300
    shown = in_the_browser([frames for case in cases for frames in case])
    for case, saw, sees in zip(cases, shown[::2], shown[1::2], strict=True):
        assert sees == saw, json.dumps([case, saw, sees], indent=1, ensure_ascii=False)


@pytest.mark.parametrize("size", [60, 150, 400])
def test_a_conversation_loaded_page_by_page_is_the_whole_conversation(size: int) -> None:
    cases: list[tuple[Any, Any]] = []
    for records in some_logs():
        ends = [at for at, one in enumerate(records, 1) if event_type(one.data) in ENDS]
        if ends:
            said = records[: ends[-1]]
            cases.append((reloaded(said, len(said)), paged(said, len(said), size)))
    # How many pages there are depends on what else hypothesis has seen.
    assert any(case[1]["older"] for case in cases)
    shown = in_the_browser([log for case in cases for log in case])
    for case, saw, sees in zip(cases, shown[::2], shown[1::2], strict=True):
        assert sees == saw, json.dumps([case, saw, sees], indent=1, ensure_ascii=False)


def test_a_page_shows_the_queue_of_the_log() -> None:
    cases = some_logs()
    shown = in_the_browser([live(records) for records in cases])
    waiting = 0
    for records, sees in zip(cases, shown, strict=True):
        queue = Fold().apply_all(records).outline.queue
        waiting += len(queue) > 1
        expected = [[id, one.message.content] for id, one in queue.items()]
        assert sees["queue"] == expected, json.dumps([live(records), sees], indent=1)
    assert waiting > 20


def test_a_page_that_saw_the_conversation_branch_shows_what_is_in_view() -> None:
    cases: list[tuple[list[Any], list[Any]]] = []
    for seed in range(40):
        model = Model(seed)
        for _ in range(20):
            model.step(switch=False)
        records = model.records()
        cases.append((live(records), reloaded(records, len(records))))
        # A page that began with a snapshot of only the newest messages.
        middle = len(records) // 2
        ends = [at for at in range(1, middle) if event_type(records[at - 1].data) in ENDS]
        if ends:
            known = paged(records, ends[-1], 60)["frames"]
            cases.append((known, reloaded(records, len(records))))
    shown = in_the_browser([frames for case in cases for frames in case])
    for saw, sees in zip(shown[::2], shown[1::2], strict=True):
        left = saw["messages"]
        assert left == sees["messages"][len(sees["messages"]) - len(left) :]
        assert left
    assert shown[0] == shown[1]
