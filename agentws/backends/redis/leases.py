"""Renews leases in Redis from a thread of its own, over a connection of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import RedisError
from redis.retry import Retry

from ...store import LeaseRenewer
from .errors import translated
from .lease_scripts import RENEW
from .servers import Servers

_PATIENCE: Final = 0.2
"""The part of a lease's time for which the client waits for a connection, and then for replies."""
CHUNK: Final = 500
"""Sessions of one script call: the server serves nobody else meanwhile."""


def milliseconds(seconds: float) -> int:
    return max(1, math.ceil(seconds * 1000))


class RedisLeaseRenewer(LeaseRenewer):
    """Connects when it first renews, and again after its connection was lost."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._client: Redis | RedisCluster | None = None
        self._patience = 0.0

    def renew(self, owner: str, sessions: Sequence[str], *, ttl: float) -> Sequence[str]:
        # In time for one more call, which may wait for a connection and for its replies.
        last_start = time.monotonic() + ttl / 2 - 2 * ttl * _PATIENCE
        held: list[str] = []
        try:
            for prefix, ids in self._servers.chunks(sessions, CHUNK):
                if held and time.monotonic() > last_start:
                    raise TimeoutError("the servers are too slow")
                held += self._renew(self._connected(ttl), prefix, owner, ids, milliseconds(ttl))
        except (RedisError, OSError) as error:
            self.close()
            raise translated(error) from error
        return held

    def close(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        if isinstance(client, RedisCluster):
            # A client that was made from a URL closes no connection by its ``close``.
            untyped: Any = client
            untyped.disconnect_connection_pools()
        client.close()

    def _connected(self, ttl: float) -> Redis | RedisCluster:
        patience = ttl * _PATIENCE
        if self._client is None or self._patience != patience:
            self.close()
            self._patience = patience
            self._client = self._connect(socket_timeout=patience, socket_connect_timeout=patience)
        return self._client

    def _connect(self, **options: float) -> Redis | RedisCluster:
        once = Retry(NoBackoff(), 0)
        if self._servers.is_cluster:
            return RedisCluster.from_url(self._servers.url, retry=once, **options)
        return Redis.from_url(
            self._servers.url, retry=once, single_connection_client=True, **options
        )

    def _renew(
        self,
        client: Redis | RedisCluster,
        prefix: str,
        owner: str,
        sessions: Sequence[str],
        ttl: int,
    ) -> list[str]:
        # With its text: it is short, and a cluster's client loads no scripts.
        keys = RENEW.keys_of(prefix, "")
        found: Any = client.eval(RENEW.text, len(keys), *keys, prefix, owner, ttl, *sessions)
        return [session.decode() for session in found]
