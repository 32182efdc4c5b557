"""The Redis store fulfils the contract on the oldest server that it supports, and on Valkey."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.redis import OLDEST, VALKEY, RedisServer

from .redis_stores import RedisStoreTests


@pytest.fixture(scope="module", params=[OLDEST, VALKEY])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), kind=request.param) as server:
        yield server


class TestRedisStore(RedisStoreTests):
    pass
