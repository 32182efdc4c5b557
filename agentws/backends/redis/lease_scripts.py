"""The Lua scripts of leases and of nodes, see :mod:`agentws.backends.redis.scripts`.

A node's entry is a hash that expires, ``n:ID``; ``n`` lists their ids by the time they expire.
"""

from __future__ import annotations

from typing import Final

from .script import NOW, script

UNSETTLED: Final = script(
    """
local limit, offset, rows = tonumber(ARGV[1]), 0, {}
while #rows < 2 * limit do
  local page = redis.call('ZRANGE', P .. 'u', offset, offset + 99, 'WITHSCORES')
  for n = 1, #page, 2 do
    if #rows < 2 * limit and redis.call('EXISTS', P .. 'w:' .. page[n]) == 0 then
      rows[#rows + 1] = page[n]
      rows[#rows + 1] = page[n + 1]
    end
  end
  if #page < 200 then break end
  offset = offset + 100
end
return rows
""",
    keys="u",
)

LEASE: Final = script(
    """
local id, owner, ttl = ARGV[1], ARGV[2], ARGV[3]
local h, w = P .. 'h:' .. id, P .. 'w:' .. id
local known = redis.call('HMGET', h, 'e', 'f')
if not known[1] then return 'N' end
local holder = redis.call('GET', w)
if holder == owner then
  redis.call('PEXPIRE', w, ttl)
  return 'L' .. known[1] .. ':' .. known[2]
end
if holder then return 'H' end
local fence = redis.call('HINCRBY', h, 'f', 1)
redis.call('SET', w, owner, 'PX', ttl)
return 'L' .. known[1] .. ':' .. fence
""",
    keys="h: w:",
)

# PEXPIRE is allowed on a server that is out of memory, SET is not: a lease is not lost for that.
RENEW: Final = script(
    """
local held = {}
for n = 3, #ARGV do
  local w = P .. 'w:' .. ARGV[n]
  if redis.call('GET', w) == ARGV[1] then
    redis.call('PEXPIRE', w, ARGV[2])
    held[#held + 1] = ARGV[n]
  end
end
return held
""",
    keys="u",
)

RELEASE: Final = script(
    """
local h, w = P .. 'h:' .. ARGV[1], P .. 'w:' .. ARGV[1]
local known = redis.call('HMGET', h, 'e', 'f')
if known[1] and ARGV[3] == known[1] .. ':' .. known[2] and redis.call('GET', w) == ARGV[2] then
  redis.call('DEL', w)
end
return 1
""",
    keys="h: w:",
)

BEAT: Final = script(
    NOW,
    """
local id, instance, ttl = ARGV[1], ARGV[2], ARGV[3]
local key = P .. 'n:' .. id
local known = redis.call('HGET', key, 'i')
if known and known ~= instance then return 0 end
redis.call('HSET', key, 'i', instance, 'd', ARGV[4])
redis.call('PEXPIRE', key, ttl)
redis.call('ZADD', P .. 'n', string.format('%.17g', now() + ttl / 1000), id)
return 1
""",
    keys="n n:",
)

NODES: Final = script(
    NOW,
    """
local rows = {}
redis.call('ZREMRANGEBYSCORE', P .. 'n', '-inf', '(' .. string.format('%.17g', now() - 1))
for _, id in ipairs(redis.call('ZRANGE', P .. 'n', 0, -1)) do
  local data = redis.call('HGET', P .. 'n:' .. id, 'd')
  if data then
    rows[#rows + 1] = id
    rows[#rows + 1] = data
  end
end
return rows
""",
    keys="n",
)

LEAVE: Final = script(
    """
local key = P .. 'n:' .. ARGV[1]
if redis.call('HGET', key, 'i') == ARGV[2] then
  redis.call('DEL', key)
  redis.call('ZREM', P .. 'n', ARGV[1])
end
return 1
""",
    keys="n n:",
)

ALL: Final = (UNSETTLED, LEASE, RENEW, RELEASE, BEAT, NODES, LEAVE)
