"""The Lua scripts of the Redis store. Each is one atomic step on the server.

A script is constant: what it works on comes as arguments. The first one is the prefix of a shard,
such as ``{agentws:0}:``. Its braces are a hash tag: all keys that begin with it are in one slot of
a cluster. A cluster that moves a slot must know the keys that a script writes, see
:attr:`agentws.backends.redis.script.Script.keys`; without a cluster none are named.

==============  =======  ==============================================================
``h:ID``        hash     a session: its info, the end of its log, its checkpoint; ``x``
                         alone if it was deleted
``l:ID``        zset     its log: ``SEQ TAG DATA`` by seq
``k:ID``        hash     its idempotency keys: ``SEQ TAG DIGEST`` by the key's id
``w:ID``        string   the owner of its lease; expires with it
``o:OWNER``     zset     the sessions of an owner by ``updated``
``d``, ``r``    zset     sessions without their own retention by ``updated``; the others
                         by ``updated`` + retention
``u``           zset     unsettled sessions by ``updated``
==============  =======  ==============================================================

A server that is out of memory refuses a script's first write if it may grow the data, and none
after it. So each script validates first, and its first write decides: all of it, or nothing.
"""

from __future__ import annotations

from typing import Final

from .script import NOW, script

_INFO: Final = """
local function info(id)
  return redis.call('HMGET', P .. 'h:' .. id, 'e', 'o', 'a', 'c', 'u', 'ti', 'md', 'r')
end
"""

# Keeps the indexes of a session as its `updated` or its retention change.
_LISTED: Final = """
local function listed(id, owner, updated, retention)
  if retention then
    redis.call('ZADD', P .. 'r', string.format('%.17g', updated + retention), id)
  else
    redis.call('ZADD', P .. 'd', updated, id)
  end
  if owner then redis.call('ZADD', P .. 'o:' .. owner, updated, id) end
end
"""

# One script argument per event; unpack() takes at most some thousands at a time.
_ADD: Final = """
local function add(key, pairs_)
  for from = 1, #pairs_, 2000 do
    redis.call('ZADD', key, unpack(pairs_, from, math.min(from + 1999, #pairs_)))
  end
end
"""

APPEND: Final = script(
    NOW,
    _LISTED,
    _ADD,
    """
local id, flags = ARGV[1], ARGV[2]
local h = P .. 'h:' .. id
local head = redis.call('HMGET', h, 'e', 's', 't', 'f', 'v', 'm', 'o', 'r')
local epoch, seq, tag = head[1], tonumber(head[2]), head[3]
if not epoch then return 'N' end
if string.find(flags, 'f', 1, true) and ARGV[3] ~= epoch .. ':' .. head[4] then return 'F' end
local keyed = string.find(flags, 'k', 1, true)
if keyed then
  local known = redis.call('HGET', P .. 'k:' .. id, ARGV[4])
  if known then
    local position, digest = string.match(known, '^(%d+ %x*) (.*)$')
    if digest ~= ARGV[5] then return 'I' end
    -- A write, as WAIT is promised for the writes of this connection only.
    redis.pcall('HSET', h, 'w', 1)
    return 'D ' .. position .. ' ' .. epoch
  end
end
if string.find(flags, 'x', 1, true) then
  local expected = tonumber(ARGV[8])
  if expected < tonumber(head[5]) or expected > seq then return 'C' end
end
local before = seq .. ' ' .. tag .. ' ' .. epoch
local settled = tonumber(head[6])
local settles = string.find(flags, 's', 1, true) and tonumber(ARGV[6]) >= settled
local updated
if #ARGV > 11 then
  local entries = {}
  for n = 12, #ARGV do
    seq = seq + 1
    tag = string.sub(redis.sha1hex(tag .. '|' .. seq .. '|' .. ARGV[n]), 1, 16)
    entries[#entries + 1] = seq
    entries[#entries + 1] = seq .. ' ' .. tag .. ' ' .. ARGV[n]
  end
  add(P .. 'l:' .. id, entries)
  updated = now()
  redis.call('HSET', h, 's', seq, 't', tag, 'u', updated)
  if not string.find(flags, 'c', 1, true) then redis.call('HSET', h, 'v', seq) end
  if not settles and seq > settled then redis.call('ZADD', P .. 'u', updated, id) end
end
if keyed then redis.call('HSET', P .. 'k:' .. id, ARGV[4], seq .. ' ' .. tag .. ' ' .. ARGV[5]) end
if settles then
  redis.call('HSET', h, 'm', ARGV[6], 'cd', ARGV[7])
  if seq > tonumber(ARGV[6]) then
    redis.call('ZADD', P .. 'u', redis.call('HGET', h, 'u'), id)
  else
    redis.call('ZREM', P .. 'u', id)
  end
end
if updated then
  listed(id, head[7], updated, head[8])
  if ARGV[9] ~= '' then redis.pcall(ARGV[9], ARGV[10], ARGV[11] .. seq) end
end
return before
""",
    keys="h: l: k: d r u",
)

CREATE: Final = script(
    _INFO,
    _LISTED,
    """
local id, h = ARGV[1], P .. 'h:' .. ARGV[1]
if redis.call('HEXISTS', h, 'x') == 1 then return 'N' end
local known = info(id)
if known[1] then return known end
local fields = {'e', ARGV[2], 's', 0, 't', '', 'f', 0, 'v', 0, 'm', 0, 'cd', ''}
local given = {}
for n = 3, #ARGV, 2 do
  given[ARGV[n]] = ARGV[n + 1]
  fields[#fields + 1] = ARGV[n]
  fields[#fields + 1] = ARGV[n + 1]
end
redis.call('HSET', h, unpack(fields))
listed(id, given['o'], given['u'], given['r'])
return 'C'
""",
    keys="h: d r",
)

UPDATE: Final = script(
    NOW,
    _INFO,
    _LISTED,
    """
local id, keeps, retention = ARGV[1], ARGV[2], ARGV[3]
local h = P .. 'h:' .. id
local known = redis.call('HMGET', h, 'e', 'o', 'ti')
if not known[1] then return 'N' end
local updated = now()
local fields = {'u', updated}
for n = 4, #ARGV, 2 do
  if not (ARGV[n] == 'ti' and keeps == '1' and known[3] and known[3] ~= '') then
    fields[#fields + 1] = ARGV[n]
    fields[#fields + 1] = ARGV[n + 1]
  end
end
redis.call('HSET', h, unpack(fields))
if retention == 'none' then
  redis.call('HDEL', h, 'r')
  redis.call('ZREM', P .. 'r', id)
elseif retention ~= 'same' then
  redis.call('HSET', h, 'r', retention)
  redis.call('ZREM', P .. 'd', id)
end
if redis.call('ZSCORE', P .. 'u', id) then redis.call('ZADD', P .. 'u', updated, id) end
listed(id, known[2], updated, redis.call('HGET', h, 'r'))
return info(id)
""",
    keys="h: d r u",
)

DELETE: Final = script(
    """
local id, updated = ARGV[1], ARGV[2]
local h, w = P .. 'h:' .. id, P .. 'w:' .. id
local known = redis.call('HMGET', h, 'e', 'o', 'u')
if not known[1] then return 1 end
if updated ~= '' and (tonumber(known[3]) ~= tonumber(updated) or redis.call('EXISTS', w) == 1) then
  return 0
end
redis.call('UNLINK', h, P .. 'l:' .. id, P .. 'k:' .. id, w)
for _, index in ipairs({'d', 'r', 'u'}) do redis.call('ZREM', P .. index, id) end
redis.call('HSET', h, 'x', 1)
if known[2] then redis.call('ZREM', P .. 'o:' .. known[2], id) end
return 1
""",
    keys="h: l: k: w: d r u",
)

SESSIONS: Final = script(
    _INFO,
    """
local key, limit, last = P .. 'o:' .. ARGV[1], tonumber(ARGV[2]), ARGV[4]
local highest, offset, rows = ARGV[3], 0, {}

-- By bytes: Lua's own order depends on the server's locale.
local function below(one, other)
  for n = 1, math.min(#one, #other) do
    local a, b = string.byte(one, n), string.byte(other, n)
    if a ~= b then return a < b end
  end
  return #one < #other
end

while #rows < limit do
  local page = redis.call('ZREVRANGEBYSCORE', key, highest, '-inf', 'WITHSCORES',
                          'LIMIT', offset, 100)
  for n = 1, #page, 2 do
    local on_last_page = tonumber(page[n + 1]) == tonumber(highest) and not below(page[n], last)
    if not on_last_page and #rows < limit then
      rows[#rows + 1] = {page[n], unpack(info(page[n]))}
    end
  end
  if #page < 200 then break end
  offset = offset + 100
end
return rows
""",
    keys="o:",
)

STALE: Final = script(
    NOW,
    _INFO,
    """
local kept, limit, time = ARGV[1], tonumber(ARGV[2]), now()
local rows = {}

local function collect(index, highest)
  local found, offset = 0, 0
  while found < limit do
    local page = redis.call('ZRANGEBYSCORE', P .. index, '-inf', '(' .. highest,
                            'LIMIT', offset, 100)
    for _, id in ipairs(page) do
      if found < limit and redis.call('EXISTS', P .. 'w:' .. id) == 0 then
        found = found + 1
        rows[#rows + 1] = {id, unpack(info(id))}
      end
    end
    if #page < 100 then break end
    offset = offset + 100
  end
end

collect('r', time)
if kept ~= '' then collect('d', string.format('%.17g', time - kept)) end
return rows
""",
    keys="d r",
)

HEADS: Final = script(
    """
local seqs = {}
for n, id in ipairs(ARGV) do seqs[n] = redis.call('HGET', P .. 'h:' .. id, 's') end
return seqs
""",
    keys="h:",
)

COMPACT: Final = script(
    _ADD,
    """
local id = ARGV[1]
if redis.call('HEXISTS', P .. 'h:' .. id, 'e') == 0 then return 0 end
local entries = {}
for n = 4, #ARGV do entries[n - 3] = ARGV[n] end
redis.call('ZREMRANGEBYSCORE', P .. 'l:' .. id, ARGV[2], ARGV[3])
add(P .. 'l:' .. id, entries)
return 1
""",
    keys="h: l:",
)

ALL: Final = (APPEND, CREATE, UPDATE, DELETE, SESSIONS, STALE, HEADS, COMPACT)
