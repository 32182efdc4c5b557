"""The write lock of an SQLite file is tried for often, so that every process gets its turn."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from threading import Timer

import pytest

from agentws.backends.sqlite.locking import PAUSE, begin_writing
from agentws.backends.sqlite.schema import connect_writer

TIMEOUT = 30.0


def connected(path: Path) -> sqlite3.Connection:
    return connect_writer(str(path), busy_timeout=TIMEOUT)


def test_a_waiting_writer_pauses_no_longer_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    pauses: list[float] = []
    sleep = time.sleep

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        sleep(seconds)

    with (
        closing(connected(tmp_path / "file")) as owner,
        closing(connected(tmp_path / "file")) as one,
    ):
        begin_writing(owner, timeout=TIMEOUT)
        one.set_trace_callback(tried.append)
        monkeypatch.setattr(time, "sleep", pause)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            begin_writing(one, timeout=0.5)
        # SQLite's own pauses would have made a single try, with 13 looks at the lock in that time.
        assert len(tried) == len(pauses) + 1 > 2
        assert set(pauses) == {PAUSE}
        assert one.execute("PRAGMA busy_timeout").fetchone() == (0,)


def test_a_waiting_writer_gets_the_lock_when_it_is_released(tmp_path: Path) -> None:
    with closing(connected(tmp_path / "file")) as one:
        owner = sqlite3.connect(tmp_path / "file", isolation_level=None, check_same_thread=False)
        with closing(owner):
            owner.execute("BEGIN IMMEDIATE")
            release = Timer(0.1, owner.execute, ["COMMIT"])
            release.start()
            begin_writing(one, timeout=TIMEOUT)
            assert one.in_transaction
            release.join()


def test_another_failure_is_raised_at_once(tmp_path: Path) -> None:
    with closing(connected(tmp_path / "file")) as one:
        begin_writing(one, timeout=TIMEOUT)
        with pytest.raises(sqlite3.OperationalError, match="within a transaction"):
            begin_writing(one, timeout=TIMEOUT)
