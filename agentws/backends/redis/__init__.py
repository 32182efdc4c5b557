"""The store and the bus on a Redis or Valkey server, for nodes on several hosts (``redis``)."""

from __future__ import annotations

try:
    import redis as _redis  # noqa: F401 - every module here needs it, and imports this one first
except ImportError as error:
    raise ImportError('sessions in Redis need redis-py: pip install "agentws[redis]"') from error

from .bus import RedisBus
from .store import RedisStore

__all__ = ["RedisBus", "RedisStore"]
