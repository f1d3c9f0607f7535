"""What Redis does with threads and leftovers in one step each: Lua, by the server's own clock, in milliseconds.

`threads` is the hash of an assistant's threads: a conversation's id -> the thread as JSON, whose `turns` are JSON
within it, so that Lua need not tell an empty list from an empty object. `leftovers` is the assistant's sorted set of
what is to be deleted at the provider, by when; `pending` that of the assistants that have leftovers, by when to look.
"""

_COMMON = """
local function now()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function look(pending, assistant, at)
    local planned = redis.call('ZSCORE', pending, assistant)
    if not planned or tonumber(planned) > at then redis.call('ZADD', pending, at, assistant) end
end
local function leave(leftovers, pending, assistant, name, at)
    redis.call('ZADD', leftovers, 'NX', at, name)
    look(pending, assistant, at)
end
local function leave_thread(leftovers, pending, assistant, thread, busy)
    if (thread.id or '') == '' then return end
    leave(leftovers, pending, assistant, 'conversation:' .. thread.id, now() + (thread.settled and 0 or busy))
end
"""

TAKE = """
if redis.call('EXISTS', KEYS[2], KEYS[3]) > 0 then return false end
local held = redis.call('HGET', KEYS[1], ARGV[1])
local thread = held and cjson.decode(held) or {}
thread.attempt, thread.settled = ARGV[2], false
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(thread))
return held
"""
"""KEYS: threads, the marks that the assistant and the conversation are gone. ARGV: conversation, attempt.

Sent twice, because the connection broke before the answer came, it says that the thread is not settled: that costs a
new one.
"""

KEEP = f"""{_COMMON}
local held = redis.call('HGET', KEYS[1], ARGV[2])
local thread = held and cjson.decode(held)
if not thread or thread.attempt ~= ARGV[3] then return 0 end
local fresh = cjson.decode(ARGV[4])
if thread.id ~= fresh.id then leave_thread(KEYS[2], KEYS[3], ARGV[1], thread, tonumber(ARGV[5])) end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
return 1
"""
"""KEYS: threads, leftovers, pending. ARGV: assistant, conversation, attempt, thread, for how long one may be in use.

What is replaced was taken, so it is not settled and may be in use: this very attempt may have asked in it.
"""

FORGET = f"""{_COMMON}
redis.call('SET', KEYS[4], '', 'PX', ARGV[3])
local held = redis.call('HGET', KEYS[1], ARGV[2])
if not held then return end
redis.call('HDEL', KEYS[1], ARGV[2])
leave_thread(KEYS[2], KEYS[3], ARGV[1], cjson.decode(held), tonumber(ARGV[3]))
"""
"""KEYS: threads, leftovers, pending, the mark. ARGV: assistant, conversation, for how long one may be in use."""

FLUSH = f"""{_COMMON}
local count = redis.call('HLEN', KEYS[1])
if KEYS[4] then redis.call('SET', KEYS[4], '', 'PX', ARGV[3]) end
if count == 0 then return 0 end
redis.call('RENAME', KEYS[1], ARGV[2])
redis.call('RPUSH', KEYS[2], ARGV[2])
look(KEYS[3], ARGV[1], now())
return count
"""
"""KEYS: threads, the list of those that were flushed, pending, and the mark if the assistant is gone. ARGV: assistant,
what to call the flushed ones, for how long one may be in use.

However many there are, this takes no time: `GATHER` reads them later.
"""

GATHER = f"""{_COMMON}
local flushed = redis.call('LINDEX', KEYS[1], 0)
if not flushed then return 0 end
local cursor, found = '0', {{}}
repeat
    local page = redis.call('HSCAN', flushed, cursor, 'COUNT', ARGV[3])
    cursor, found = page[1], page[2]
until #found > 0 or cursor == '0'
if #found == 0 then redis.call('LPOP', KEYS[1]) end
for i = 1, #found, 2 do
    leave_thread(KEYS[2], KEYS[3], ARGV[1], cjson.decode(found[i + 1]), tonumber(ARGV[2]))
    redis.call('HDEL', flushed, found[i])
end
return 1
"""
"""KEYS: the list of flushed threads, leftovers, pending. ARGV: assistant, for how long one may be in use, how many."""

LEAVE = f"""{_COMMON}
local at = now() + ARGV[2]
for i = 3, #ARGV do leave(KEYS[1], KEYS[2], ARGV[1], ARGV[i], at) end
"""
"""KEYS: leftovers, pending. ARGV: assistant, in how long they are due, names."""

CLAIM = f"""{_COMMON}
local at = now()
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', at, 'LIMIT', 0, ARGV[2])
for _, name in ipairs(due) do redis.call('ZADD', KEYS[1], at + ARGV[3], name) end
return due
"""
"""KEYS: leftovers. ARGV: assistant, how many, for how long nobody else is given them."""

DELETED = """
for i = 2, #ARGV do redis.call('ZREM', KEYS[1], ARGV[i]) end
if redis.call('EXISTS', KEYS[3]) > 0 then return end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if #first == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) else redis.call('ZADD', KEYS[2], first[2], ARGV[1]) end
"""
"""KEYS: leftovers, pending, the list of flushed threads. ARGV: assistant, names of those that are gone."""

PUT_BACK = f"""{_COMMON}
for i = 4, #ARGV do redis.call('ZADD', KEYS[1], 'XX', now() + ARGV[2], ARGV[i]) end
redis.call('ZADD', KEYS[2], 'XX', now() + ARGV[3], ARGV[1])
"""
"""KEYS: leftovers, pending. ARGV: assistant, in how long they are due again, in how long to look, names."""

DUE = f"""{_COMMON}
local at = now()
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', at, 'LIMIT', 0, ARGV[1])
for _, assistant in ipairs(due) do redis.call('ZADD', KEYS[1], at + ARGV[2], assistant) end
return due
"""
"""KEYS: pending. ARGV: how many, for how long they are not named again."""
