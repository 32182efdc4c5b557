"""A cluster of three nodes over each store. It lives as long as the tests of its store."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.nodes import Cluster
from tests.cluster.stores import STORES, shared_store


@pytest.fixture(scope="session", params=STORES)
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    with shared_store(request.param, folder) as store, Cluster(store.url, folder) as cluster:
        yield cluster


@pytest.fixture
def cluster(started: Cluster) -> Iterator[Cluster]:
    """Three running nodes, ``a``, ``b`` and ``c``. Tests may kill and freeze them."""
    started.restore()
    yield started
    started.check_output()


@pytest.fixture
def session() -> str:
    """The id of a session of its own for each test, as all share one store."""
    return f"a-session-{secrets.token_hex(8)}"
