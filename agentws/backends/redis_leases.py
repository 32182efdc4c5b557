"""Renews leases in Redis from a thread of its own, over a connection of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from ..store import LeaseRenewer
from .redis_errors import translated
from .redis_scripts import RENEW

_CHUNK: Final = 500
"""Sessions of one script call: the server serves nobody else meanwhile."""


def milliseconds(seconds: float) -> int:
    return max(1, math.ceil(seconds * 1000))


class RedisLeaseRenewer(LeaseRenewer):
    """Connects when it first renews, and again after its connection was lost."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._client: Redis | None = None
        self._patience = 0.0

    def renew(self, owner: str, sessions: Sequence[str], *, ttl: float) -> Sequence[str]:
        if not sessions:
            return []
        try:
            return self._renew(self._connected(ttl), owner, sessions, milliseconds(ttl))
        except (RedisError, OSError) as error:
            self.close()
            raise translated(error) from error

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self, ttl: float) -> Redis:
        # At most two waits of the client are in one renewal: for a connection, and for the replies.
        patience = ttl / 5
        if self._client is None or self._patience != patience:
            self.close()
            self._patience = patience
            self._client = Redis.from_url(
                self._url,
                socket_timeout=patience,
                socket_connect_timeout=patience,
                retry=Retry(NoBackoff(), 0),
                single_connection_client=True,
            )
        return self._client

    def _renew(self, client: Redis, owner: str, sessions: Sequence[str], ttl: int) -> list[str]:
        chunks = [sessions[at : at + _CHUNK] for at in range(0, len(sessions), _CHUNK)]
        try:
            replies = self._send(client, owner, chunks, ttl)
        except NoScriptError:
            client.script_load(RENEW.text)
            replies = self._send(client, owner, chunks, ttl)
        return [session.decode() for held in replies for session in held]

    def _send(
        self, client: Redis, owner: str, chunks: Sequence[Sequence[str]], ttl: int
    ) -> list[Any]:
        pipeline = client.pipeline(transaction=False)
        for chunk in chunks:
            pipeline.evalsha(RENEW.sha, 1, self._prefix, owner, ttl, *chunk)
        return list(pipeline.execute())
