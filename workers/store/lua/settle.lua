-- KEYS[1] limit   KEYS[2] settlement (string, 10 s)   ARGV tokens_per_minute, tokens used minus reserved
-- Correct the token bucket by what the calls really used; once, however often this is run.
if not redis.call('SET', KEYS[2], 1, 'NX', 'PX', 10000) then return 0 end
local tat = redis.call('HGET', KEYS[1], 'tokens')
if not tat then return 0 end
redis.call('HSET', KEYS[1], 'tokens', tonumber(tat) + 60000 / tonumber(ARGV[1]) * tonumber(ARGV[2]))
return 1
