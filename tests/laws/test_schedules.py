"""The laws hold in random schedules of commands on two nodes over one SQLite file."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from agentws.backends.sqlite import SQLiteStore
from agentws.testing.virtual import virtual_run

from .episode import Outcome, episode
from .inline import InlineSQLite

EPISODES = 120
THREADED = 12

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def outcomes(soak: float, tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """Every schedule, played once for all tests here."""
    logging.getLogger("agentws").setLevel(logging.CRITICAL + 1)
    played = []
    folder = tmp_path_factory.mktemp("laws")
    try:
        for seed in range(max(1, int(EPISODES * soak))):
            path = folder / f"{seed}.db"
            played.append(virtual_run(episode(InlineSQLite, path, seed)))
            for left in folder.glob(f"{seed}.db*"):
                left.unlink()
    finally:
        logging.getLogger("agentws").setLevel(logging.NOTSET)
    return played


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Silences the log: the faults here are intended."""
    caplog.set_level(logging.CRITICAL + 1, logger="agentws")


def check(outcomes: Sequence[Outcome], wrong: Callable[[Outcome], Sequence[object]]) -> None:
    bad = [one for one in outcomes if wrong(one)]
    if bad:
        count = f"{len(bad)} of {len(outcomes)} schedules"
        found = "\n".join(map(str, wrong(bad[0])))
        pytest.fail(f"{count}; the first:\n{found}\n{bad[0].report()}", pytrace=False)


def test_each_event_is_allowed_by_the_log_before_it(outcomes: list[Outcome]) -> None:
    check(outcomes, lambda one: one.broken)


def test_an_acknowledged_command_has_its_effect_in_the_log(outcomes: list[Outcome]) -> None:
    check(outcomes, lambda one: one.without_effect)


def test_a_refusal_holds_for_the_log_at_its_time(outcomes: list[Outcome]) -> None:
    check(outcomes, lambda one: one.without_cause)


def test_a_refused_command_leaves_nothing_in_the_log(outcomes: list[Outcome]) -> None:
    check(outcomes, lambda one: one.left_behind)


def test_every_client_sees_the_log_once_and_in_order(outcomes: list[Outcome]) -> None:
    check(outcomes, lambda one: one.misseen)


def test_every_command_is_answered_and_every_run_ends(outcomes: list[Outcome]) -> None:
    check(outcomes, lambda one: one.hung)


def test_an_agent_gets_what_was_delivered_to_its_run_once(outcomes: list[Outcome]) -> None:
    check(outcomes, lambda one: one.mistaken)


EXPECTED = {
    ("send", "accepted"),
    ("send", "duplicate"),
    ("send", "idempotency_conflict"),
    ("send", "run_active"),
    ("send", "queue_full"),
    ("withdraw", "accepted"),
    ("withdraw", "not_found"),
    ("edit_queued", "accepted"),
    ("edit_queued", "not_found"),
    ("promote", "accepted"),
    ("promote", "not_found"),
    ("cancel", "accepted"),
    ("answer", "accepted"),
    ("answer", "duplicate"),
    ("answer", "already_answered"),
    ("answer", "not_found"),
    ("command", "accepted"),
    ("command", "run_active"),
}


def replies(outcomes: Sequence[Outcome]) -> Counter[tuple[str, str]]:
    """How often each kind of frame got each reply."""
    return Counter(
        (one.frame["type"], one.refused or ("duplicate" if one.duplicate else "accepted"))
        for outcome in outcomes
        for one in outcome.requests
        if one.reply is not None
    )


def test_the_schedules_cover_every_reply(outcomes: list[Outcome], soak: float) -> None:
    counted = replies(outcomes)
    assert soak < 1.0 or counted.keys() >= EXPECTED, EXPECTED - counted.keys()


def test_conflicting_commands_are_decided_again_and_rarely_refused(
    outcomes: list[Outcome],
) -> None:
    counted = replies(outcomes)
    given_up = sum(count for (_, said), count in counted.items() if said == "conflict")
    assert given_up <= sum(counted.values()) / 100, counted


def test_the_laws_hold_with_the_threads_of_sqlite(soak: float, tmp_path: Path) -> None:
    """In real time: the end of the log is not known at every moment, so replies are not checked."""

    def play(seed: int) -> Outcome:
        path = tmp_path / f"{seed}.db"
        work = episode(lambda file: SQLiteStore(file, synchronous="NORMAL"), path, seed, pace=0.1)
        return asyncio.run(work)

    played = [play(seed) for seed in range(max(1, int(THREADED * soak)))]
    check(played, lambda one: [*one.broken, *one.misseen, *one.hung])
