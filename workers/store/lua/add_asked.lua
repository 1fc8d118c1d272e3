-- KEYS[1] hits (zset: answer -> hits)   KEYS[2] places (hash: answer -> place)
-- KEYS[3] halved (string, half_life_s)   KEYS[4] this addition (string, 600 s)
-- ARGV most, ttl_s, half_life_s, then answer, hits and place, again and again
-- Add to the hits, once for each KEYS[4], however often this is run, and remember the newest place of each answer.
-- No more than `most` answers stay: those with the fewest hits go.
if not redis.call('SET', KEYS[4], 1, 'NX', 'EX', 600) then return 0 end
-- A new table is as young as its first hits: it is not halved before its first half_life_s is over (most_asked.lua).
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SET', KEYS[3], 1, 'EX', ARGV[3]) end
for i = 4, #ARGV, 3 do
  redis.call('ZINCRBY', KEYS[1], ARGV[i + 1], ARGV[i])
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 2])
end
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[1])
if over > 0 then
  for _, answer in ipairs(redis.call('ZRANGE', KEYS[1], 0, over - 1)) do redis.call('HDEL', KEYS[2], answer) end
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, over - 1)
end
redis.call('EXPIRE', KEYS[1], ARGV[2]); redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1
