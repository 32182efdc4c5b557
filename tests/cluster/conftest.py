"""A cluster of three nodes over each store. It lives as long as the tests of its store."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.nodes import Cluster
from tests.cluster.stores import STORES, shared_store
from tests.cluster.vitals import HealthChecks, Vitals, baseline, check_answers, check_returned
from tests.cluster.warming import warm_up

RETURNED = 15.0
"""Seconds in which a node closes and evicts what a test has left behind."""


@pytest.fixture(scope="session", params=STORES)
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    with shared_store(request.param, folder) as store, Cluster(store.url, folder) as cluster:
        warm_up(cluster)
        yield cluster


@pytest.fixture(scope="session")
def at_rest(started: Cluster) -> Vitals:
    """What a node holds that has served clients, and has none now."""
    return baseline(started.nodes)


@pytest.fixture
def cluster(started: Cluster, at_rest: Vitals) -> Iterator[Cluster]:
    """Three running nodes, ``a``, ``b`` and ``c``. Tests may kill and freeze them.

    After each test they hold no more than before, and were healthy all the time.
    """
    started.restore()
    with HealthChecks(started.nodes) as health:
        yield started
    started.check_output()
    check_answers(health.answers)
    started.restore()
    check_returned(started.nodes, at_rest, within=RETURNED)


@pytest.fixture
def session() -> str:
    """The id of a session of its own for each test, as all share one store."""
    return f"a-session-{secrets.token_hex(8)}"
