-- KEYS answers (string)   ARGV per key: entry, ttl_ms
-- Keep every entry for its ttl_ms, or for what is left to the one it replaces where that is longer: a person's
-- request must not shorten the life of a batch's answer. Twice is as once. Gives the number kept.
-- (PEXPIRE GT would do without a script, but Redis has it only since 7.0.)
for i, key in ipairs(KEYS) do
  local entry, ttl_ms = ARGV[2 * i - 1], ARGV[2 * i]
  if redis.call('PTTL', key) > tonumber(ttl_ms) then
    redis.call('SET', key, entry, 'KEEPTTL')
  else
    redis.call('SET', key, entry, 'PX', ttl_ms)
  end
end
return #KEYS
