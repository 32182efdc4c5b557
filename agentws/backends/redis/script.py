"""A Lua script of the Redis store: its text, the digest by which it is called, and its keys."""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple


class Script(NamedTuple):
    """A script, and the digest by which it is called."""

    text: str
    sha: str
    keys: tuple[str, ...]
    """The keys that it writes, after the prefix; one with a colon goes on with the first argument.
    An owner's list is none of them, as only the script knows the owner: it is written last."""

    def keys_of(self, prefix: str, argument: str | bytes | int) -> tuple[str, ...]:
        return tuple(
            f"{prefix}{key}{argument!s}" if key.endswith(":") else prefix + key for key in self.keys
        )


def script(*parts: str, keys: str) -> Script:
    text = "\n".join(("local P = table.remove(ARGV, 1)", *parts))
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(text, sha, tuple(keys.split()))


# Times are text: a number would lose digits on its way through Lua.
NOW: Final = """
local function now()
  local time = redis.call('TIME')
  return time[1] .. '.' .. string.format('%06d', time[2])
end
"""
