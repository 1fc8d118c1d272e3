-- KEYS[1] counts (hash: DAY:NAME -> number)   KEYS[2] this addition (string, 600 s)
-- ARGV day (YYYY-MM-DD), oldest day to keep, ttl_s, then name and number, again and again
-- Add to the day's counts, once for each KEYS[2], however often this is run; take away those that are too old.
-- One hash for all days: it is used all the time, so an evicting Redis does not choose it.
if not redis.call('SET', KEYS[2], 1, 'NX', 'EX', 600) then return 0 end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 10) < ARGV[2] then redis.call('HDEL', KEYS[1], field) end
end
for i = 4, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[1] .. ':' .. ARGV[i], ARGV[i + 1]) end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
