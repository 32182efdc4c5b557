"""The browser's fold is the server's: who saw it live and who reloads are shown the same."""

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

from agentws.protocol.codec import Record, event_frames, event_type
from agentws.protocol.fold import Fold
from agentws.protocol.parts import divide
from agentws.protocol.position import Position
from agentws.protocol.snapshots import snapshot_records

from .logs import logs

FOLD_LOGS = Path(__file__).resolve().parent.parent / "web" / "fold-logs.mjs"
ENDS = ("RUN_FINISHED", "RUN_ERROR")


def some_logs() -> list[list[Record]]:
    """The same at every call."""
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


def reloaded(records: list[Record], at: int) -> list[Any]:
    """What a page is sent that comes when a run goes on: what was said before it, then the run."""
    fold = Fold().apply_all(records[:at])
    last = records[at - 1]
    snapshot = snapshot_records(
        Position("e", last.seq, last.tag),
        messages=fold.messages,
        state=fold.state,
        queued=(),
        extras={"title": fold.title},
    )
    return live([*snapshot, *records[at:]])


def paged(records: list[Record], at: int, size: int) -> dict[str, Any]:
    """:func:`reloaded` with the newest part of it alone, and the older ones as pages."""
    fold = Fold().apply_all(records[:at])
    last = records[at - 1]
    *older, newest = divide(fold.messages, size, most=1000)
    snapshot = snapshot_records(
        Position("e", last.seq, last.tag),
        messages=newest,
        state=fold.state,
        queued=(),
        extras={"title": fold.title, "before": len(older)},
    )
    pages = [{"messages": msgspec.to_builtins(part), "before": 1} for part in reversed(older)]
    frames = live([*snapshot, *records[at:]])
    return {"frames": frames, "older": pages}


def in_the_browser(frames: list[Any]) -> Any:
    """What the browser's client makes of each of these logs."""
    node = os.environ.get("AGENTWS_NODE") or shutil.which("node")
    assert node, "there is no Node; set AGENTWS_NODE"
    done = subprocess.run(
        [node, str(FOLD_LOGS)], input=json.dumps(frames), capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_page_that_reloads_shows_what_it_showed() -> None:
    cases: list[tuple[list[Any], list[Any]]] = []
    for records in some_logs():
        ends = [at for at, one in enumerate(records, 1) if event_type(one.data) in ENDS]
        cases += [(live(records), reloaded(records, at)) for at in ends]
    assert len(cases) > 300
    shown = in_the_browser([frames for case in cases for frames in case])
    for case, saw, sees in zip(cases, shown[::2], shown[1::2], strict=True):
        assert sees == saw, json.dumps([case, saw, sees], indent=1, ensure_ascii=False)


@pytest.mark.parametrize("size", [60, 150, 400])
def test_what_is_loaded_part_by_part_is_what_was_shown(size: int) -> None:
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
