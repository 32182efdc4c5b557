"""The names of sharded channels: ``agentws:{agentws:3}:b:s:ID`` for ``agentws:b:s:ID``.

The prefix of the session's shard is in it, so that it is in the slot of the session. It comes after
the namespace, as users may be restricted to the channels that begin with that.
"""

from __future__ import annotations


def sharded(channel: str, shard: str) -> str:
    namespace, _, rest = channel.partition(":")
    return f"{namespace}:{shard}{rest}"


def shard_of(channel: str) -> str:
    """The prefix of the shard in the name of a sharded channel."""
    return channel[channel.index("{") : channel.index("}") + 2]


def unsharded(channel: str) -> str:
    return channel.replace(shard_of(channel), "", 1)
