-- KEYS[1] limit   ARGV wait_ms
-- Nobody calls this provider for wait_ms from now; never shortens a longer pause. Gives the pause in force, ms.
local t = redis.call('TIME'); local now = t[1] * 1000 + t[2] / 1000
local till = math.max(tonumber(redis.call('HGET', KEYS[1], 'paused') or 0), now + tonumber(ARGV[1]))
redis.call('HSET', KEYS[1], 'paused', till)
if redis.call('PTTL', KEYS[1]) < till - now then redis.call('PEXPIRE', KEYS[1], math.ceil(till - now + 1000)) end
return math.ceil(till - now)
