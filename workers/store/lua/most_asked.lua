-- KEYS[1] hits (zset: answer -> hits)   KEYS[2] places (hash: answer -> place)   KEYS[3] halved (string, half_life_s)
-- ARGV least, most, half_life_s, ttl_s
-- The answers with at least `least` hits, at most `most`, the most asked first: answer, hits, place, again and again.
-- Once in half_life_s all hits are halved, so that what was asked long ago gives way; run again it halves nothing.
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('SET', KEYS[3], 1, 'NX', 'EX', ARGV[3]) then
  redis.call('ZUNIONSTORE', KEYS[1], 1, KEYS[1], 'WEIGHTS', '0.5'); redis.call('EXPIRE', KEYS[1], ARGV[4])
end
local found = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local rows = {}
for i = 1, #found, 2 do
  local place = redis.call('HGET', KEYS[2], found[i])
  if place then
    rows[#rows + 1] = found[i]; rows[#rows + 1] = found[i + 1]; rows[#rows + 1] = place
  end
end
return rows
